"""The first `gateway.yaml` of a new user, with the comments that explain it. Writes nothing."""

import re
from collections.abc import Mapping

import yaml

from gateway.core.json import JsonObject

_UNSUITABLE = re.compile(r"[^a-z0-9_.-]+")

_EXAMPLES = """\
# Where tools come from: MCP servers, by address or by command.
# servers:
#   orders:
#     url: https://orders.example.com/mcp
#     headers: {Authorization: "env:ORDERS_AUTHORIZATION"}
#     tools:
#       find_order: {tags: [read]}     # changes nothing: not recorded before it is sent
#   files:
#     command: [npx, -y, "@modelcontextprotocol/server-filesystem", "."]

# Agents of others, by the address of their card; or add them with `drawbridge agents add URL`.
# agents:
#   refunds: {card: "https://refunds.example.com", key: "env:REFUNDS_KEY", roles: [refunds]}
# Addresses given to `agents add` must be public, unless they are allowed here; these are agents on this machine:
# egress: {allow: ["127.0.0.0/8"], ports: []}
"""


def subject_from(name: str) -> str:
    """A subject made of a login name."""
    return _UNSUITABLE.sub("-", name.lower()).strip("-.")[:64] or "owner"


def configuration_text(*, owner: str, key: str, servers: Mapping[str, JsonObject], schema: str) -> str:
    """The file's text. `key` is the reference to the owner's key, `schema` where the JSON Schema lies."""
    return f"""\
# yaml-language-server: $schema={schema}
# Drawbridge. `drawbridge check` says whether this file is right; a running gateway takes up changes by itself.

{_servers(servers)}
# What each role may call. Nothing is allowed that no line here allows; deny beats allow.
roles:
  owner:
    allow: ["*"]
  # support:
  #   allow:
  #     - "tool:orders/find_*"
  #     - {{call: "tool:orders/refund", when: "args.amount <= 100"}}

# Who calls. Keys are references, never values; `drawbridge keys mint` makes more of them.
principals:
  {owner}: {{roles: [owner], key: "{key}"}}
"""


def _servers(servers: Mapping[str, JsonObject]) -> str:
    if not servers:
        return _EXAMPLES
    written: str = yaml.safe_dump(
        {"servers": dict(servers)}, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return f"# Where tools come from.\n{written}"
