"""Those who ask: by MCP and by A2A, with the official SDKs, and again under the same key when the gateway went away."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import httpx2
from a2a.client import A2ACardResolver, A2AClientError, ClientConfig, ClientFactory
from a2a.helpers import get_artifact_text, get_data_parts, new_data_part, new_text_part
from a2a.types import Artifact, Message, Role, SendMessageRequest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

ANSWER_WITHIN_S = 180.0
_GONE = (
    *(httpx2.TransportError, httpx.TransportError, OSError, MCPError, A2AClientError),
    *(anyio.ClosedResourceError, ExceptionGroup),
)
"""What a client sees when the gateway is killed under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer."""

    text: str
    said: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The structured answer: `answer`, `gaps`, `steps`, and where there is something to say `error`, `notices`,
    `confidence`, `why`, `undone`."""
    failed: bool = False

    @property
    def answer(self) -> Any:
        return self.said.get("answer")

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return self.said.get("gaps", [])

    @property
    def notices(self) -> list[str]:
        return self.said.get("notices", [])

    @property
    def why(self) -> dict[str, Any]:
        return self.said.get("why", {})

    @property
    def run(self) -> str:
        """Id of the run; empty where no step was drawn."""
        steps = self.said.get("steps", [])
        return steps[0]["id"].partition("/")[0] if steps else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the gateway is, for somebody with a key."""

    url: str
    key: str
    back: Callable[[], Awaitable[bool]]
    """Returns when the gateway is there again; False where it was never away."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def by_mcp(door: Door, name: str, arguments: Mapping[str, Any], key: str) -> Told:
    """The answer to a `tools/call`; repeated under its key while the gateway is gone."""
    with anyio.fail_after(ANSWER_WITHIN_S):
        while True:
            try:
                return await _called(door, name, arguments, key)
            except _GONE:
                if not await door.back():
                    raise


async def _called(door: Door, name: str, arguments: Mapping[str, Any], key: str) -> Told:
    async with (
        httpx2.AsyncClient(headers=door.headers, timeout=ANSWER_WITHIN_S) as http,
        Client(streamable_http_client(f"{door.url}/mcp", http_client=http), mode="2026-07-28") as client,
    ):
        result = await client.call_tool(name, dict(arguments), meta={"drawbridge/idempotency-key": key})
    text = "\n".join(getattr(block, "text", "") for block in result.content[:1])
    return Told(text=text, said=result.structured_content or {}, failed=result.is_error is True)


async def by_a2a(door: Door, slug: str, message: str, data: Mapping[str, Any], key: str, conversation: str) -> Told:
    """The answer to a message; sent again under its id while the gateway is gone, which finds the same run."""
    with anyio.fail_after(ANSWER_WITHIN_S):
        while True:
            try:
                return await _sent(door, slug, _message(message, data, key, conversation))
            except _GONE:
                if not await door.back():
                    raise


def _message(message: str, data: Mapping[str, Any], key: str, conversation: str) -> Message:
    parts = [new_text_part(message), *([new_data_part(dict(data))] if data else [])]
    return Message(message_id=key, context_id=conversation, role=Role.ROLE_USER, parts=parts)


async def _sent(door: Door, slug: str, message: Message) -> Told:
    told = Told(text="", failed=True)
    async with httpx.AsyncClient(headers=door.headers, timeout=ANSWER_WITHIN_S) as http:
        card = await A2ACardResolver(http, f"{door.url}/agents/{slug}").get_agent_card()
        client = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(card)
        async for event in client.send_message(SendMessageRequest(message=message)):
            for artifact in event.task.artifacts:
                told = _in_artifact(artifact)
    return told


def _in_artifact(artifact: Artifact) -> Told:
    parts: list[dict[str, Any]] = get_data_parts(artifact.parts)
    said = parts[0] if parts else {}
    return Told(text=get_artifact_text(artifact), said=said, failed=bool(said.get("error")))
