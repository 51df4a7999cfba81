"""An MCP server that is a program of ours, spoken to over its standard input and output, as an `Upstream`."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio
import structlog
from msgspec import Raw

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_conversation import Conversation
from adapters.mcp.client_eras import about_from_discover, about_from_initialize
from adapters.mcp.client_listing import read_listing
from adapters.mcp.client_params import CLIENT_INFO, Outgoing, outgoing, own_meta, uri_of
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_process import Process, minimal_environment
from adapters.mcp.client_updates import Updates
from adapters.mcp.client_watch import EVERY_LIST
from adapters.mcp.client_wire import UNSUPPORTED_VERSION
from adapters.mcp.settings import ServerSettings, resolved
from adapters.mcp.wire import HANDSHAKE, LATEST_HANDSHAKE, Era, encode
from gateway.core.errors import DeadlineExceeded, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_object, json_text
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.ports.upstream import Listing

log = structlog.get_logger(__name__)

START_S = 30.0
"""Longest a program may take to start and to say who it is, seconds."""
PROBE_S = 3.0
"""How long an old server may stay silent about a method it does not know, seconds."""
_STEADY_S = 10.0
"""A program that lived this long has not failed to start."""
_FIRST_DELAY_S, _MOST_DELAY_S = 0.5, 30.0


class McpStdioUpstream:
    """See `Upstream`. The program runs from the first time it is needed, and is started again when it died."""

    def __init__(
        self,
        slug: str,
        settings: ServerSettings,
        parts: ServerParts,
        on_changed: Callable[[], None] = lambda: None,
        *,
        probe_s: float = PROBE_S,
    ) -> None:
        """`on_changed` is told when the server says that its lists changed."""
        self._probe_s = probe_s
        self._slug = slug
        self._settings = settings
        self._parts = parts
        self._clock = parts.clock
        self._on_changed = on_changed
        self._answers = Answers(slug, settings, parts.seal)
        self._updates = Updates()
        self._conversation: Conversation | None = None
        self._era: Era = "modern"
        self._about: JsonObject = {}
        self._starting = anyio.Lock()
        self._began_s = 0.0
        self._deaths = 0
        self._not_before_s = 0.0
        self._closed = False

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        """See `Upstream.capabilities`."""
        deadline_s = self._clock.monotonic_s() + (self._settings.timeout_s or START_S)
        conversation = await self._running(deadline_s)

        async def ask(method: str, params: JsonObject) -> JsonObject:
            return await conversation.ask(self._own(method, params, self._era), deadline_s)

        about = {**self._about, "garbage": True} if conversation.garbage else self._about
        return await read_listing(self._slug, self._settings, about, ask)

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        """See `Upstream.call`."""
        deadline_s = request.budget.deadline_s
        if capability.timeout_s is not None:
            deadline_s = min(deadline_s, self._clock.monotonic_s() + capability.timeout_s)
        conversation = await self._running(deadline_s)
        era = self._era
        if request.operation == "subscribe":
            uri = uri_of(request, capability)
            try:
                await self._updates.follow(uri, emit, partial(self._subscribe, conversation, uri, deadline_s))
            finally:
                self._unsubscribe(conversation, uri)
        answers = self._answers
        state, task_id = answers.state_for(request, capability), answers.task_for(request, capability)
        out = outgoing(request, capability, era, state, task_id)
        who = (request.principal.tenant, request.principal.subject, "")
        raw = await conversation.request(out, who=who, emit=emit, deadline_s=deadline_s)
        return self._answers.result(raw, request, capability, era)

    async def _subscribe(self, conversation: Conversation, uri: str, deadline_s: float) -> None:
        """Once for all who follow it: who hears of it is up to `Updates`."""
        if uri in conversation.subscribed:
            return
        conversation.subscribed[uri] = 0
        if self._era == "modern":
            wanted: JsonObject = {"resourceSubscriptions": [uri]}
            listen = self._own("subscriptions/listen", {"notifications": wanted}, "modern")
            conversation.subscribed[uri] = conversation.begin(listen)
        else:
            await conversation.ask(self._own("resources/subscribe", {"uri": uri}, "legacy"), deadline_s)

    def _unsubscribe(self, conversation: Conversation, uri: str) -> None:
        """Once nobody follows it any more."""
        if uri in self._updates.uris or uri not in conversation.subscribed:
            return
        number = conversation.subscribed.pop(uri)
        if number:
            conversation.withdraw(number)
            return
        with suppress(Unavailable):
            conversation.begin(self._own("resources/unsubscribe", {"uri": uri}, "legacy"))

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        self._closed = True
        await self._stop()

    def stderr_tail(self) -> bytes:
        """The newest of what the program wrote to standard error; for operators, never for callers."""
        process = self._conversation.process if self._conversation is not None else None
        return b"" if process is None else process.stderr_tail()

    async def _running(self, deadline_s: float) -> Conversation:
        """The conversation with a program that runs. Raises: Unavailable: it does not, and is not to be tried now."""
        conversation = self._conversation
        if conversation is not None and not conversation.over and not self._starting.locked():
            return conversation
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                async with self._starting:
                    conversation = self._conversation
                    if conversation is None or conversation.over:
                        conversation = await self._start(deadline_s)
                    return conversation
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._slug} did not start in time", detail={"sent": False}) from error

    async def _start(self, deadline_s: float) -> Conversation:
        now_s = self._clock.monotonic_s()
        if self._closed:
            raise Unavailable(f"{self._slug} has been stopped", detail={"sent": False})
        if self._conversation is not None:
            await self._bury(now_s)
        if now_s < self._not_before_s:
            wait_s = self._not_before_s - now_s
            raise Unavailable(
                f"{self._slug} keeps ending; it is started again in {wait_s:.1f} s",
                detail={"sent": False},
                retry_after_s=wait_s,
            )
        deadline_s = min(deadline_s, now_s + START_S)
        try:
            conversation = await self._open()
            self._about = await self._negotiate(conversation, deadline_s)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._stop()
            self._note_failure(self._clock.monotonic_s())
            if isinstance(error, UpstreamFailed):
                raise Unavailable(f"{self._slug} does not start: {error.message}", detail={"sent": False}) from error
            raise
        return self._conversation or conversation

    async def _bury(self, now_s: float) -> None:
        log.warning("an MCP server's process ended", server=self._slug, stderr=self.stderr_tail()[-2000:])
        await self._stop()
        if now_s - self._began_s >= _STEADY_S:
            self._deaths = 0
        self._note_failure(now_s)

    def _note_failure(self, now_s: float) -> None:
        """The first failure in a row costs no wait."""
        self._deaths += 1
        if self._deaths > 1:
            self._not_before_s = now_s + min(_MOST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(self._deaths - 2, 10))

    async def _open(self) -> Conversation:
        await self._stop()
        try:
            env = minimal_environment(resolved(self._settings.env, self._parts.secrets))
        except InvalidRequest as error:
            raise Unavailable(f"{self._slug}: {error.message}", detail={"sent": False}) from error
        conversation = Conversation(
            self._slug,
            self._answers,
            self._clock,
            self._on_changed,
            self._updates,
            event_bytes=self._parts.limits.event_bytes,
        )
        self._began_s = self._clock.monotonic_s()
        conversation.process = await Process.start(
            self._settings.command,
            env=env,
            cwd=self._settings.cwd,
            lines=conversation,
            limit_bytes=self._parts.limits.result_bytes,
        )
        self._conversation = conversation
        return conversation

    async def _stop(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.process is not None:
            await conversation.process.stop()

    # Who is there?

    async def _negotiate(self, conversation: Conversation, deadline_s: float) -> JsonObject:
        """MCP 2026-07-28, versioning, "backward compatibility": whoever does not discover is asked to initialize."""
        about = await self._discover(conversation, min(deadline_s, self._clock.monotonic_s() + self._probe_s))
        if about is None:
            if conversation.over:
                # Some old servers end when the first thing they hear is not `initialize`.
                conversation = await self._open()
            about = await self._initialize(conversation, deadline_s)
        if about is None:
            about = await self._discover(conversation, deadline_s)
        if about is None:
            raise self._answers.failed("speaks no protocol version the gateway knows")
        self._era = "modern" if about["era"] == "modern" else "legacy"
        if self._era == "modern":
            conversation.begin(self._own("subscriptions/listen", {"notifications": EVERY_LIST}, "modern"))
        return about

    async def _discover(self, conversation: Conversation, deadline_s: float) -> "JsonObject | None":
        try:
            out = self._own("server/discover", {}, "modern")
            return about_from_discover(await conversation.ask(out, deadline_s, withdraw=False))
        except GatewayError:
            return None

    async def _initialize(self, conversation: Conversation, deadline_s: float) -> "JsonObject | None":
        """None where the server says that it is a modern one after all: it was only slow to start."""
        params: JsonObject = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT_INFO}
        try:
            said = await conversation.ask(self._own("initialize", params, "legacy"), deadline_s, withdraw=False)
        except GatewayError as error:
            if json_object(error.detail.get("upstream")).get("code") == UNSUPPORTED_VERSION:
                return None
            raise
        if json_text(said.get("protocolVersion")) not in HANDSHAKE:
            raise self._answers.failed("speaks no protocol version the gateway knows")
        conversation.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return about_from_initialize(said)

    def _own(self, method: str, params: JsonObject, era: Era) -> Outgoing:
        meta = own_meta(era)
        if meta:
            params = {**params, "_meta": meta}
        return Outgoing(method=method, members={key: Raw(encode(value)) for key, value in params.items()})
