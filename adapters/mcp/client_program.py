"""One place in which the program of a server runs: from the first time it is needed, and again after it died.

For one caller who can be asked something, or for all others together; knows nothing of the programs beside it.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
import structlog
from msgspec import Raw

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_conversation import Conversation
from adapters.mcp.client_exchange import Asked
from adapters.mcp.client_greeting import discovered, initialized, own_request
from adapters.mcp.client_legacy import able_of
from adapters.mcp.client_params import Outgoing
from adapters.mcp.client_parked import Parking, reply_from
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_process import Process, minimal_environment
from adapters.mcp.client_sessions import GATEWAY, Key
from adapters.mcp.client_tasks import follow_task
from adapters.mcp.client_told import Told
from adapters.mcp.client_updates import Updates
from adapters.mcp.client_watch import EVERY_LIST
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import ASKED, Era, as_text
from adapters.net.configured import revealed
from gateway.core.errors import DeadlineExceeded, GatewayError, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Emit, Request

log = structlog.get_logger(__name__)

START_S = 30.0
"""Longest a program may take to start and to say who it is, seconds."""
PROBE_S = 3.0
"""How long an old server may stay silent about a method it does not know, seconds."""
MOST_PARKED = 16
"""Calls in one program that wait for what their caller is asked."""
_STEADY_S = 10.0
"""A program that lived this long has not failed to start."""
_FIRST_DELAY_S, _MOST_DELAY_S = 0.5, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What every program of one server is started and heard with."""

    slug: str
    settings: ServerSettings
    parts: ServerParts
    answers: Answers
    on_changed: Callable[[], None]
    probe_s: float = PROBE_S


class Program:
    """See the module."""

    def __init__(self, recipe: Recipe, key: Key = GATEWAY) -> None:
        """`key`: whose it is to be, who is then known to be there with this; by default everybody's."""
        self._slug = recipe.slug
        self._recipe = recipe
        self._clock = recipe.parts.clock
        self._answers = recipe.answers
        self._key = key
        self._able = able_of(key)
        self._updates = Updates()
        self._parking = Parking[Conversation](most=MOST_PARKED, clock=self._clock)
        self._conversation: Conversation | None = None
        self.era: Era = "modern" if key == GATEWAY else "legacy"
        self._about: JsonObject = {}
        self.calls = 0
        """Under way."""
        self.followers = 0
        """Who wait to hear that a resource of it changed."""
        self.used_s = 0.0
        """When it was last used, monotonic seconds."""
        self._starting = anyio.Lock()
        self._began_s = 0.0
        self._deaths = 0
        self._not_before_s = 0.0
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether somebody would miss it: a call is under way, or waits for what its caller is asked."""
        parked = self._parking.waiting  # gives up what waits too long, even where the program is gone
        return self.calls > 0 or (parked > 0 and self._conversation is not None and not self._conversation.over)

    @property
    def about(self) -> JsonObject:
        """What it said of itself when it was last started; empty where it never was."""
        garbage = self._conversation is not None and self._conversation.garbage
        return {**self._about, "garbage": True} if garbage else self._about

    def stderr_tail(self) -> bytes:
        """The newest of what it wrote to standard error; for operators, never for callers."""
        process = self._conversation.process if self._conversation is not None else None
        return b"" if process is None else process.stderr_tail()

    async def ask(self, method: str, params: JsonObject, deadline_s: float) -> JsonObject:
        """The result of a request in the gateway's own name."""
        conversation = await self.running(deadline_s)
        return await conversation.ask(own_request(method, params, self.era), deadline_s)

    async def call(self, out: Outgoing, request: Request, emit: Emit, deadline_s: float) -> Raw:
        """The result of a caller's request, or what the caller is asked first. Raises: see `Conversation.request`."""
        if self.era == "legacy" and request.continuation:
            conversation, answer = await self._told(out, request, emit, deadline_s)
        else:
            conversation = await self.running(deadline_s)
            answer = await conversation.request(
                out, asker=request, emit=emit, deadline_s=deadline_s, may_ask=self._may_ask
            )
        return answer if isinstance(answer, Raw) else self._parking.park(self._key, conversation, answer)

    async def follow(self, uri: str, emit: Emit, deadline_s: float) -> None:
        """Tell of a resource's changes, until canceled. Raises: Unavailable: nothing more is heard of it."""
        conversation = await self.running(deadline_s)
        try:
            await self._updates.follow(uri, emit, partial(self._subscribe, conversation, uri, deadline_s))
        finally:
            self._unsubscribe(conversation, uri)

    async def follow_task(self, request: Request, own_id: str, emit: Emit, deadline_s: float) -> None:
        """Tell that there is news of a task, by the program's own id for it. Raises: see `client_tasks.follow_task`."""
        conversation = await self.running(deadline_s)

        async def listen(out: Outgoing, heard: Emit) -> Raw:
            return await conversation.listen(out, asker=request, emit=heard, deadline_s=deadline_s)

        await follow_task(listen, request, own_id, emit)

    async def aclose(self) -> None:
        """End it for good; bounded; idempotent."""
        self._closed = True
        await self._stop()

    async def running(self, deadline_s: float) -> Conversation:
        """The conversation with it, started now if need be. Raises: Unavailable: it cannot be, or not now."""
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

    async def _told(
        self, out: Outgoing, request: Request, emit: Emit, deadline_s: float
    ) -> tuple[Conversation, Raw | Asked]:
        """Bring the caller's answer to the call that waits for it, and hear what comes of it."""
        parked = self._parking.take(as_text(out.members.get("requestState")) or "", self._key)
        reply = reply_from(parked.asked.question, out.members, request)
        if reply is None:
            return parked.session, parked.asked
        return parked.session, await parked.session.go_on(parked.asked, reply, emit, deadline_s)

    def _may_ask(self, method: str) -> bool:
        return ASKED.get(method) in self._able

    async def _subscribe(self, conversation: Conversation, uri: str, deadline_s: float) -> None:
        """Once for all who follow it: who hears of it is up to `Updates`."""
        asking = conversation.asking
        while uri in asking:
            await asking[uri].wait()  # whoever asks may be refused, which says nothing of who comes after
        if uri in conversation.subscribed:
            return
        if self.era == "modern":
            wanted: JsonObject = {"resourceSubscriptions": [uri]}
            listen = own_request("subscriptions/listen", {"notifications": wanted}, "modern")
            conversation.subscribed[uri] = conversation.begin(listen)
            return
        over = asking[uri] = anyio.Event()
        conversation.subscribed[uri] = 0
        try:
            until_s = min(deadline_s, self._clock.monotonic_s() + START_S)
            await conversation.ask(own_request("resources/subscribe", {"uri": uri}, "legacy"), until_s)
        except GatewayError:
            conversation.subscribed.pop(uri, None)
            raise
        except BaseException:
            self._withdraw(conversation, uri)  # it may have agreed by now
            raise
        finally:
            del asking[uri]
            over.set()

    def _unsubscribe(self, conversation: Conversation, uri: str) -> None:
        """Once nobody follows it any more."""
        if uri not in self._updates.uris:
            self._withdraw(conversation, uri)

    def _withdraw(self, conversation: Conversation, uri: str) -> None:
        if uri not in conversation.subscribed:
            return
        number = conversation.subscribed.pop(uri)
        if number:
            conversation.withdraw(number)
            return
        with suppress(Unavailable):
            conversation.begin(own_request("resources/unsubscribe", {"uri": uri}, "legacy"))

    async def _start(self, deadline_s: float) -> Conversation:
        now_s = self._clock.monotonic_s()
        self._check_open()
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

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._slug} has been stopped", detail={"sent": False})

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
        settings, parts = self._recipe.settings, self._recipe.parts
        env = minimal_environment(revealed(self._slug, settings.env, parts.secrets))
        conversation = Conversation(
            self._answers,
            self._clock,
            self._recipe.on_changed,
            self._updates,
            event_bytes=parts.limits.event_bytes,
            shared=self._key == GATEWAY,
        )
        self._began_s = self._clock.monotonic_s()
        process = await Process.start(
            settings.command, env=env, cwd=settings.cwd, lines=conversation, limit_bytes=parts.limits.result_bytes
        )
        self._conversation = conversation
        conversation.process = process
        self._check_open()  # it may have been closed meanwhile; whoever starts it stops it then
        return conversation

    async def _stop(self) -> None:
        self._parking.close()
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.process is not None:
            await conversation.process.stop()

    # Who is there?

    async def _negotiate(self, conversation: Conversation, deadline_s: float) -> JsonObject:
        """MCP 2026-07-28, versioning, "backward compatibility": whoever does not discover is asked to initialize."""
        about: JsonObject | None = None
        if self._key == GATEWAY:  # what is somebody's own is known to be a legacy server
            until_s = min(deadline_s, self._clock.monotonic_s() + self._recipe.probe_s)
            about = await discovered(conversation, until_s)
            if about is None and conversation.over:
                # Some old servers end when the first thing they hear is not `initialize`.
                conversation = await self._open()
        if about is None:
            about = await initialized(conversation, self._key, self._answers, deadline_s)
        if about is None and self._key == GATEWAY:
            about = await discovered(conversation, deadline_s)
        if about is None:
            raise self._answers.failed("speaks no protocol version the gateway knows")
        self.era = "modern" if about["era"] == "modern" else "legacy"
        if self.era == "modern":
            conversation.begin(own_request("subscriptions/listen", {"notifications": EVERY_LIST}, "modern"))
        else:
            conversation.told = Told(self._able, json_object(about.get("capabilities")))
        return about
