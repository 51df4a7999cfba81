"""What a server says of itself, in the words of either era, brought into one form. Pure."""

from adapters.mcp.wire import META_PREFIX, MODERN
from gateway.core.json import JsonObject, json_list, json_object, json_text

SERVER_INFO_KEY = META_PREFIX + "serverInfo"


def about_from_discover(said: JsonObject) -> "JsonObject | None":
    """From the result of `server/discover`; None where it names no modern version: then the server is a legacy one."""
    if MODERN not in json_list(said.get("supportedVersions")):
        return None
    info = json_object(said.get("_meta")).get(SERVER_INFO_KEY)
    return _about("modern", MODERN, said, json_object(info))


def about_from_initialize(said: JsonObject) -> JsonObject:
    """From the result of `initialize`."""
    return _about("legacy", json_text(said.get("protocolVersion")), said, json_object(said.get("serverInfo")))


def _about(era: str, version: str, said: JsonObject, info: JsonObject) -> JsonObject:
    return {
        "era": era,
        "protocolVersion": version,
        "serverInfo": info,
        "capabilities": json_object(said.get("capabilities")),
        "instructions": json_text(said.get("instructions")),
    }
