"""The resources and prompts of the conformance suite."""

import json
import re
from collections.abc import Mapping
from typing import Any

from mcp import MCPError

from tests.conformance.everything.calling import Result
from tests.conformance.everything.tools import IMAGE

_TEMPLATE = re.compile(r"test://template/([^/]+)/data")

RESOURCES: tuple[Mapping[str, Any], ...] = (
    {"uri": "test://static-text", "name": "static-text", "mimeType": "text/plain", "description": "Some text."},
    {"uri": "test://static-binary", "name": "static-binary", "mimeType": "image/png", "description": "A dot."},
    {"uri": "test://watched-resource", "name": "watched-resource", "mimeType": "text/plain", "description": "Changes."},
)
TEMPLATES: tuple[Mapping[str, Any], ...] = (
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "mimeType": "application/json",
        "description": "By id.",
    },
)
PROMPTS: tuple[Mapping[str, Any], ...] = (
    {"name": "test_simple_prompt", "description": "No arguments."},
    {
        "name": "test_prompt_with_arguments",
        "description": "Two arguments.",
        "arguments": [{"name": "arg1", "required": True}, {"name": "arg2", "required": True}],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "Embeds a resource.",
        "arguments": [{"name": "resourceUri", "required": True}],
    },
    {"name": "test_prompt_with_image", "description": "Shows an image."},
    {"name": "test_input_required_result_prompt", "description": "Asks before it answers."},
)


def contents_of(uri: str) -> list[Result]:
    """What a resource holds. Raises: MCPError: there is none."""
    if uri == "test://static-binary":
        return [{"uri": uri, "mimeType": "image/png", "blob": IMAGE}]
    texts = {
        "test://static-text": "This is the content of the static text resource.",
        "test://watched-resource": "Watched resource content",
    }
    if uri in texts:
        return [{"uri": uri, "mimeType": "text/plain", "text": texts[uri]}]
    made = _TEMPLATE.fullmatch(uri)
    if made is None:
        raise MCPError(code=-32602, message="Resource not found", data={"uri": uri})
    text = json.dumps({"id": made[1], "templateTest": True, "data": f"Data for ID: {made[1]}"})
    return [{"uri": uri, "mimeType": "application/json", "text": text}]


def messages_of(name: str, arguments: Mapping[str, str]) -> list[Result]:
    """What a prompt says. Raises: MCPError: there is none."""
    if name == "test_simple_prompt":
        return [_said("This is a simple prompt for testing.")]
    if name == "test_prompt_with_arguments":
        return [_said(f"Prompt with arguments: arg1='{arguments.get('arg1')}', arg2='{arguments.get('arg2')}'")]
    if name == "test_prompt_with_embedded_resource":
        resource = {"uri": arguments.get("resourceUri"), "mimeType": "text/plain", "text": "Embedded for testing."}
        return [
            _shown({"type": "resource", "resource": resource}),
            _said("Please process the embedded resource above."),
        ]
    if name == "test_prompt_with_image":
        image = {"type": "image", "data": IMAGE, "mimeType": "image/png"}
        return [_shown(image), _said("Please analyze the image above.")]
    raise MCPError(code=-32602, message=f"Unknown prompt: {name}")


def _shown(block: Result) -> Result:
    return {"role": "user", "content": block}


def _said(text: str) -> Result:
    return _shown({"type": "text", "text": text})
