"""Slugs: the short names of servers, buses, agents and workflows, which share one namespace. Pure."""

import re

SLUG = r"[a-z0-9-]{1,24}"
LONGEST_SLUG = 24
RESERVED = frozenset({"api", "mcp", "sets", "agents", "workflows", "run"})
"""What stands in URLs and names where a slug could stand."""
_SLUG = re.compile(SLUG)


def is_slug(text: str) -> bool:
    """Whether it is written as a slug is; a reserved one as well."""
    return _SLUG.fullmatch(text) is not None
