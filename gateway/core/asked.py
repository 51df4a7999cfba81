"""What a caller can be asked during a call, and what it answered, where both come by no protocol of their own.

The words are those of MCP 2026-07-28, the one protocol in which tools ask: a question is `{"method", "params"}`.
"""

from collections.abc import Mapping

from gateway.core.json import Json, JsonObject, json_object

ASKABLE = "askable"
"""In `Request.meta`: the capabilities of the caller that say what it can be asked, `{"elicitation": {"form": {}}}`."""
REPLIES = "replies"
"""In `Request.meta`, beside a `continuation`: what was answered, by the keys of the questions."""


def askable_by(meta: Mapping[str, Json]) -> JsonObject:
    return json_object(meta.get(ASKABLE))


def replies_in(meta: Mapping[str, Json]) -> JsonObject:
    return json_object(meta.get(REPLIES))
