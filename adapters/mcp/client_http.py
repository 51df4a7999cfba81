"""An MCP server over HTTP as an `Upstream`, whichever era and transport it speaks."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_eras import about_from_initialize
from adapters.mcp.client_exchange import NotTaken, SessionGone, Wire, unsent
from adapters.mcp.client_legacy import Legacy
from adapters.mcp.client_listing import Ask, read_listing
from adapters.mcp.client_modern import Modern
from adapters.mcp.client_pages import OPENED, asked_in, begun_anew, pages_asked
from adapters.mcp.client_params import outgoing, uri_of
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_sse import MOST_STREAMS, LegacySse
from adapters.mcp.client_tasks import follow_task
from adapters.mcp.client_updates import Updates
from adapters.mcp.client_watch import announces_changes, first_of, keep_listening, listen_modern
from adapters.mcp.client_wire import UNSUPPORTED_VERSION, Message
from adapters.mcp.settings import ServerSettings
from adapters.net.address import Address, address_from_url
from adapters.net.authorized import AuthorizedPool
from adapters.net.configured import misconfigured, revealed
from adapters.net.http1 import Pool, PoolLimits, header_lines
from adapters.net.response import Response
from gateway.core.errors import DeadlineExceeded, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.ports.credentials import UpstreamToken
from gateway.core.ports.upstream import Listing

SILENT_S = 5.0
"""After which a server that has not answered a POST may be one of the older transport, seconds."""
LIST_S = 30.0
"""Longest all lists of a server may take together, seconds."""
_COMMON = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """How the server wants to be asked, and what it last said of itself."""

    face: Modern | Legacy
    about: JsonObject = field(repr=False)


class McpHttpUpstream:
    """See `Upstream`."""

    def __init__(
        self,
        slug: str,
        settings: ServerSettings,
        parts: ServerParts,
        on_changed: Callable[[], None] = lambda: None,
        token: UpstreamToken | None = None,
        *,
        silent_s: float = SILENT_S,
    ) -> None:
        """`on_changed` is told when the server says that its lists changed; `token` is shown with every request.

        Raises: InvalidRequest: the URL cannot be used.
        """
        address = address_from_url(settings.url)
        limits = PoolLimits(
            connections=settings.concurrency or parts.limits.upstream_concurrency,
            queue=parts.limits.upstream_queue,
            connect_timeout_s=parts.limits.connect_timeout_s,
        )
        self._silent_s = silent_s
        self._slug = slug
        self._settings = settings
        self._answers = Answers(slug, settings, parts.seal)
        self._clock = parts.clock
        self._secrets = parts.secrets
        self._on_changed = on_changed
        self._closed = False
        self._updates = Updates()
        self._wire = Wire(
            pool=_pool(address, slug, parts, limits, token),
            target=address.target.encode(),
            answers=self._answers,
            parts=parts,
            on_changed=on_changed,
            on_request=self._on_request,
            updates=self._updates,
        )
        # Streams have connections of their own: each stays open between the calls.
        streams = _pool(
            address,
            slug,
            parts,
            PoolLimits(connections=MOST_STREAMS, connect_timeout_s=limits.connect_timeout_s),
            token,
        )
        self._streams = streams
        self._legacy = Legacy(self._wire, parts.limits, parts.clock, connections=limits.connections, streams=streams)
        self._sse = LegacySse(
            self._wire,
            streams,
            settings.url,
            parts,
            connections=limits.connections,
        )
        self._link: _Link | None = None
        self._connecting = anyio.Lock()

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        """See `Upstream.capabilities`. Asks anew who is there, so that an upgraded server is noticed."""
        deadline_s = self._clock.monotonic_s() + (self._settings.timeout_s or LIST_S)
        link = self._link
        if link is None or link.face.era == "modern":
            link = await self._connect(deadline_s)
        face = link.face

        def ask_as(able: JsonObject) -> Ask:
            return lambda method, params: face.ask(method, params, deadline_s, able)

        try:
            if isinstance(face, Legacy):
                link = self._link = await self._over(face, deadline_s)  # it may have been started again as another
            return await read_listing(self._slug, self._settings, link.about, ask_as({}), ask_as)
        except UpstreamFailed:
            self._link = None  # perhaps it is no longer who it was
            raise

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        """See `Upstream.call`."""
        deadline_s = request.budget.deadline_s
        if capability.timeout_s is not None:
            deadline_s = min(deadline_s, self._clock.monotonic_s() + capability.timeout_s)
        link = self._link or await self._connect_for_call(deadline_s)
        try:
            return await self._call(link, request, capability, emit, deadline_s)
        except GatewayError as error:
            if json_object(error.detail.get("upstream")).get("code") != UNSUPPORTED_VERSION:
                raise
        # Refused unread: the server has changed its era since it was asked.
        link = await self._connect_for_call(deadline_s)
        return await self._call(link, request, capability, emit, deadline_s)

    async def watch(self) -> None:
        """Tell `on_changed` whenever the server says so, until canceled; returns where there is nothing to be done.

        For whoever owns a task group. Those who follow a resource are told, and told of the end. Sessions that were
        forgotten are ended meanwhile.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._legacy.goodbyes.run)
            try:
                await self.attend()
            finally:
                self.desert()
            if self._closed or self._link is None or self._link.face is not self._legacy:
                group.cancel_scope.cancel()

    async def say_goodbyes(self) -> None:
        """End the sessions that were forgotten, those that can be now; for who is not watched."""
        await self._legacy.goodbyes.say()

    def desert(self) -> None:
        """Nobody attends to what the server says unasked any more: whoever follows a resource learns of it."""
        self._updates.end()

    async def attend(self, *, again: bool = False) -> None:
        """Hear what the server says unasked, until canceled. `again`: somebody did before, and may have missed some."""
        lines, stirred = b"", self._updates.changed

        async def listen(deadline_s: float) -> Response | None:
            nonlocal lines, stirred
            link = self._link or await self._connect(self._clock.monotonic_s() + LIST_S)
            if link.face is self._sse:
                await self._sse.attend(announced=announces_changes(link.about))
            if self._closed or not announces_changes(link.about):
                return None
            stirred, uris = self._updates.changed, self._updates.uris
            if link.face.era == "modern":
                return await listen_modern(self._wire, uris, deadline_s)
            within_s = self._clock.monotonic_s() + LIST_S
            lines, response = await self._legacy.subscribed.listen(uris, within_s, deadline_s)
            return response

        async def follow(response: Response) -> bool:
            nonlocal stirred
            legacy, ended = self._link is not None and self._link.face is self._legacy, anyio.Event()
            at_once = False
            async with anyio.create_task_group() as group:
                group.start_soon(self._follow, response, lines, ended)
                while not await first_of(ended, stirred):
                    if not legacy:
                        at_once = True
                        break  # what a modern stream is about is said when it begins
                    stirred = self._updates.changed
                    if not await self._resubscribed():
                        break  # it is listened to again, and asked again
                group.cancel_scope.cancel()
            return at_once

        def missed() -> None:
            self._on_changed()
            self._updates.publish_all()

        await keep_listening(listen, follow, missed, self._clock, again=again)

    async def _resubscribed(self) -> bool:
        try:
            await self._legacy.subscribed.subscribe(self._updates.uris, self._clock.monotonic_s() + LIST_S)
        except GatewayError:
            return False
        return True

    async def _follow(self, response: Response, lines: bytes, ended: anyio.Event) -> None:
        try:
            await self._wire.follow(response, lines)
        except GatewayError:
            pass  # it is listened to again
        finally:
            ended.set()

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        self._closed = True
        self.desert()
        await self._legacy.aclose()
        await self._sse.aclose()
        await self._wire.pool.aclose()

    async def _call(
        self, link: _Link, request: Request, capability: Capability, emit: Emit, deadline_s: float
    ) -> Result:
        if request.operation == "subscribe":
            if self._closed:
                raise Unavailable(f"{self._slug} has been replaced", detail={"sent": False})
            await self._updates.follow(uri_of(request, capability), emit)
        face = link.face
        era = face.era
        answers = self._answers
        state, task_id = answers.state_for(request, capability), answers.task_for(request, capability)
        if state == OPENED:
            request, state = begun_anew(request), None
        if request.operation == "task.subscribe" and era == "modern":
            # No tool's own bound on a call is one on how long its tasks are followed.
            until_s, modern = request.budget.deadline_s, Modern(self._wire.over(self._streams))
            await follow_task(
                lambda out, heard: modern.call(out, request, capability, heard, until_s), request, task_id, emit
            )
        out = outgoing(request, capability, era, state, task_id)
        try:
            raw = await face.call(out, request, capability, emit, deadline_s)
        except GatewayError as error:
            pages = pages_asked(error, request)
            if era == "modern" or not pages:
                raise
            raw = asked_in(pages)
        return self._answers.result(raw, request, capability, era)

    async def _on_request(self, message: Message, lines: bytes) -> None:
        # The modern era knows no requests from servers; what nobody answers there harms nobody.
        if self._link is None or self._link.face.era == "legacy":
            await self._legacy.refuse(message, lines)

    async def _connect_for_call(self, deadline_s: float) -> _Link:
        try:
            return await self._connect(deadline_s)
        except UpstreamFailed as error:
            raise unsent(error) from error

    async def _connect(self, deadline_s: float) -> _Link:
        """Find out how to ask the server, or wait for whoever is finding out."""
        before = self._link
        try:
            with anyio.fail_after(max(0.0, deadline_s - self._clock.monotonic_s())):
                async with self._connecting:
                    link = self._link
                    if link is None or link is before:
                        self._wire.lines = self._common_lines()
                        link = self._link = await self._negotiate(deadline_s)
                    return link
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._slug} did not say in time who it is", detail={"sent": False}) from error

    async def _negotiate(self, deadline_s: float) -> _Link:
        """MCP 2026-07-28, versioning, "backward compatibility": whoever does not discover is asked to initialize."""
        if self._settings.transport == "sse":
            return await self._over(self._sse, deadline_s)
        if self._settings.transport == "http":
            return await self._by_post(deadline_s)
        return await self._by_post_or_stream(deadline_s)

    async def _by_post_or_stream(self, deadline_s: float) -> _Link:
        """Some servers of the older transport leave a POST to the address of their stream open for good."""
        older: _Link | None = None
        found: _Link | GatewayError | None = None
        async with anyio.create_task_group() as group:

            async def look_for_older() -> None:
                nonlocal older
                await anyio.sleep(self._silent_s)
                with suppress(GatewayError):
                    older = await self._over(self._sse, deadline_s)
                    group.cancel_scope.cancel()

            group.start_soon(look_for_older)
            try:
                found = await self._by_post(deadline_s)
            except GatewayError as error:
                found = error
            group.cancel_scope.cancel()
        if isinstance(found, _Link):
            return found
        if older is not None:
            return older
        raise found or self._answers.failed("did not say who it is")

    async def _by_post(self, deadline_s: float) -> _Link:
        modern = Modern(self._wire)
        about = await modern.discover(deadline_s)
        if about is not None:
            return _Link(face=modern, about=about)
        try:
            return await self._over(self._legacy, deadline_s)
        except (SessionGone, NotTaken):
            if self._settings.transport == "http":
                raise
            # MCP 2025-11-25, transports, "backwards compatibility": what takes no POST may be the older transport.
            with suppress(UpstreamFailed):
                return await self._over(self._sse, deadline_s)
            raise

    async def _over(self, face: Legacy, deadline_s: float) -> _Link:
        return _Link(face=face, about=about_from_initialize(await face.about(deadline_s)))

    def _common_lines(self) -> bytes:
        try:
            return header_lines((*_COMMON, *revealed(self._slug, self._settings.headers, self._secrets).items()))
        except InvalidRequest as error:
            raise misconfigured(self._slug, error) from error


def _pool(address: Address, slug: str, parts: ServerParts, limits: PoolLimits, token: UpstreamToken | None) -> Pool:
    if token is None:
        return Pool(address, name=slug, tls=parts.tls, limits=limits)
    return AuthorizedPool(address, name=slug, tls=parts.tls, limits=limits, token=token)
