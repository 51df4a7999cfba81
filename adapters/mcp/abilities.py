"""What a client can be asked for, as words that can be compared: servers show some tools to no other client. Pure.

A capability has two words where clients may have half of it: one that fills in forms may open no addresses.
"""

from collections.abc import Mapping

from gateway.core.json import JsonObject, json_object

ABILITIES: Mapping[str, JsonObject] = {
    "elicitation": {"elicitation": {"form": {}}},
    "elicitation.url": {"elicitation": {"url": {}}},
    "sampling": {"sampling": {}},
    "sampling.tools": {"sampling": {"tools": {}}},
    "roots": {"roots": {}},
}
"""By word, what a client declares that can be asked for this and nothing else."""
EVERY_ABILITY: JsonObject = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}
ALL_ABILITIES = "*"
"""What a client has that has every other."""


def abilities(declared: JsonObject) -> frozenset[str]:
    """The words for what a client declares."""
    found = {name for name in ("sampling", "roots") if isinstance(declared.get(name), dict)}
    if "tools" in json_object(declared.get("sampling")):
        found.add("sampling.tools")
    modes = declared.get("elicitation")
    if isinstance(modes, dict):
        # Until 2025-11-25 there were only forms, so that naming no mode means them.
        found |= {"elicitation"} if "form" in modes or not modes else set[str]()
        found |= {"elicitation.url"} if "url" in modes else set[str]()
    return frozenset(found | {ALL_ABILITIES} if found >= ABILITIES.keys() else found)
