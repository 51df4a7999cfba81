"""What the servers of each revision offer: of everything a revision knows, one."""

from collections.abc import Mapping
from typing import Any

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
MODERN = VERSIONS[-1]
URI = "note://today"
LINKED = "note://linked"
WAV = "UklGRg=="
"""Four bytes."""
QUESTION = "What is the capital of France?"

_BLOCKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("2024-11-05", {"type": "text", "text": "hello", "annotations": {"audience": ["user"], "priority": 0.5}}),
    ("2024-11-05", {"type": "image", "data": "iVBORw==", "mimeType": "image/png"}),
    ("2024-11-05", {"type": "resource", "resource": {"uri": URI, "mimeType": "text/plain", "text": "today"}}),
    ("2025-03-26", {"type": "audio", "data": WAV, "mimeType": "audio/wav", "annotations": {"audience": ["user"]}}),
    (
        "2025-06-18",
        {
            "type": "resource_link",
            "uri": LINKED,
            "name": "linked",
            "title": "The linked one",
            "mimeType": "text/markdown",
            "size": 1234,
            "description": "What it says.",
        },
    ),
)
"""Content by the revision that brought it (`schema.json` of each: `CallToolResult`, `ContentBlock`)."""
SINCE: Mapping[str, str] = {block["type"]: since for since, block in _BLOCKS}


def blocks(version: str) -> list[dict[str, Any]]:
    return [block for since, block in _BLOCKS if since <= version]


def structured(version: str) -> Any:
    """From 2026-07-28 on it may be anything; before, it is an object."""
    return [1, {"two": None}] if version == MODERN else {"one": 1}


def tool_result(version: str) -> dict[str, Any]:
    said: dict[str, Any] = {"content": blocks(version), "isError": False}
    if version >= "2025-06-18":
        said |= {"structuredContent": structured(version), "_meta": {"com.example/kept": None}}
    return said


def prompt_result(version: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": block} for block in blocks(version)]
    return {"description": "One of each.", "messages": messages}


READ: dict[str, Any] = {
    "contents": [
        {"uri": URI, "mimeType": "text/plain", "text": "today"},
        {"uri": URI + "/picture", "mimeType": "image/png", "blob": "iVBORw=="},
    ]
}


def tools(version: str) -> list[dict[str, Any]]:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    every: dict[str, Any] = {"name": "every", "description": "One of each.", "inputSchema": schema}
    if version >= "2025-03-26":
        every["annotations"] = {"title": "Every", "readOnlyHint": True}
    if version >= "2025-06-18":
        every |= {"title": "Every", "_meta": {"com.example/tier": "gold"}}
        every["outputSchema"] = {"type": "array" if version == MODERN else "object"}
    if version >= "2025-11-25":
        every["icons"] = [{"src": "data:,", "mimeType": "image/png", "sizes": ["any"]}]
    return [every, {"name": "ask", "description": "Asks the model.", "inputSchema": {"type": "object"}}]


PROMPTS: list[dict[str, Any]] = [{"name": "each", "arguments": [{"name": "tone", "required": True}]}]
RESOURCES: list[dict[str, Any]] = [{"uri": URI, "name": "today", "mimeType": "text/plain"}]
SAMPLING: dict[str, Any] = {
    "messages": [{"role": "user", "content": {"type": "text", "text": QUESTION}}],
    "maxTokens": 100,
}
SAMPLED: dict[str, Any] = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}


SKILLS: dict[str, Any] = {"skills": [{"name": "knitting", "vendor": None}]}
"""What a method of an extension answers that the gateway knows nothing of."""


def capabilities(version: str) -> dict[str, Any]:
    own: dict[str, Any] = {"com.example/skills": {}}
    return {"tools": {}, "prompts": {}, "resources": {}, "extensions" if version == MODERN else "experimental": own}
