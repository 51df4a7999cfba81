"""What the configuration says of how the MCP door offers things."""

from adapters.mcp.offers import WORDS, Offers
from gateway.app.sections import Sections
from gateway.plugins import load_tool_search


def offers_of(sections: Sections) -> Offers:
    """The sets of these sections, and what searches them. Raises: InvalidRequest: it is not installed."""
    engines = {each.engine for each in sections.sets.values() if each.search} - {WORDS}
    return Offers(sets=sections.sets, engines={name: load_tool_search(name) for name in engines})
