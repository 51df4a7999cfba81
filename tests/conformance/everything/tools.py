"""The tools of the conformance suite that ask nobody anything, by name."""

from collections.abc import Mapping
from typing import Any

import anyio
from mcp import MCPError

from tests.conformance.everything.calling import Call, Result, Tool, text_result

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
PAUSE_S = 0.05
"""Long enough that what is said before and after it travels apart."""
AWAY_S = 0.2

JSON_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _says(*blocks: Mapping[str, Any]) -> Tool:
    async def tool(call: Call) -> Result:
        return {"content": [*blocks], "isError": False}

    return tool


def _resource(uri: str, media_type: str, text: str) -> Mapping[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": media_type, "text": text}}


_IMAGE_BLOCK = {"type": "image", "data": IMAGE, "mimeType": "image/png"}


async def _logging(call: Call) -> Result:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await call.log(text)
        await anyio.sleep(PAUSE_S)
    return text_result("Tool with logging executed successfully")


async def _progress(call: Call) -> Result:
    for done in (0, 50, 100):
        await call.progress(done, 100)
        await anyio.sleep(PAUSE_S)
    return text_result("Tool with progress executed successfully")


async def _fails(call: Call) -> Result:
    return text_result("This tool intentionally returns an error for testing", is_error=True)


async def _needs_sampling(call: Call) -> Result:
    if "sampling" not in call.capabilities:
        needed: Result = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=-32021, message="this tool needs a client that can sample", data=needed)
    return text_result("the client can sample")


async def _region(call: Call) -> Result:
    return text_result(f"region={call.arguments.get('region', 'none')}")


async def _reconnection(call: Call) -> Result:
    await call.log("Before disconnect")
    if call.ctx.close_sse_stream is not None:
        await call.ctx.close_sse_stream()
        await anyio.sleep(AWAY_S)
    await call.log("After reconnect")
    return text_result("Reconnection test completed")


TOOLS: Mapping[str, Tool] = {
    "test_simple_text": _says({"type": "text", "text": "This is a simple text response for testing."}),
    "test_image_content": _says(_IMAGE_BLOCK),
    "test_audio_content": _says({"type": "audio", "data": AUDIO, "mimeType": "audio/wav"}),
    "test_embedded_resource": _says(
        _resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ),
    "test_multiple_content_types": _says(
        {"type": "text", "text": "Multiple content types test:"},
        _IMAGE_BLOCK,
        _resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ),
    "test_tool_with_logging": _logging,
    "test_logging_tool": _logging,
    "test_tool_with_progress": _progress,
    "test_error_handling": _fails,
    "test_missing_capability": _needs_sampling,
    "test_x_mcp_header": _region,
    "test_reconnection": _reconnection,
    "json_schema_2020_12_tool": _says({"type": "text", "text": "a schema is all there is to see"}),
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "json_schema_2020_12_tool": JSON_SCHEMA,
    "test_x_mcp_header": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    },
}
