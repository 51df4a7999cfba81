"""An MCP server that is a program of ours, spoken to over its standard input and output, as an `Upstream`.

One program serves everybody, unless it is of the legacy era and a caller can be asked something: then it runs for that
caller alone, since nothing in a question says whose call it belongs to.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial

import anyio
import msgspec

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_listing import read_listing
from adapters.mcp.client_pages import OPENED, asked_in, begun_anew, pages_asked
from adapters.mcp.client_params import client_capabilities, outgoing, uri_of
from adapters.mcp.client_parked import not_awaited
from adapters.mcp.client_parts import ServerParts
from adapters.mcp.client_program import PROBE_S, START_S, Program, Recipe
from adapters.mcp.client_programs import STOP_S, Programs
from adapters.mcp.client_sessions import Key, caller_of
from adapters.mcp.client_shown import Shown
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import ASKED
from gateway.core.errors import GatewayError
from gateway.core.model import Capability, Emit, Request, Result
from gateway.core.ports.upstream import Listing

_ASKABLE = frozenset(ASKED.values())
_ordered = msgspec.json.Encoder(order="sorted").encode
TIDY_S = 30.0
"""How often programs are looked for that nobody has used for long, seconds."""


class McpStdioUpstream:
    """See `Upstream`. Programs run from the first time they are needed, and are started again when they died."""

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
        self._slug = slug
        self._settings = settings
        self._clock = parts.clock
        self._answers = Answers(slug, settings, parts.seal)
        recipe = Recipe(
            slug=slug, settings=settings, parts=parts, answers=self._answers, on_changed=on_changed, probe_s=probe_s
        )
        self._shared = Program(recipe)
        self._own = Programs(
            slug, partial(Program, recipe), parts.clock, most=settings.processes, idle_s=parts.limits.session_idle_s
        )
        self._shown = Shown(recipe, self._shared)
        self._on_changed = on_changed

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        """See `Upstream.capabilities`."""
        deadline_s = self._clock.monotonic_s() + (self._settings.timeout_s or START_S)
        shared = self._shared
        await shared.running(deadline_s)
        if self._runs_for_callers:
            return await self._shown.listing(deadline_s)
        return await read_listing(self._slug, self._settings, shared.about, partial(shared.ask, deadline_s=deadline_s))

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        """See `Upstream.call`."""
        deadline_s = request.budget.deadline_s
        if capability.timeout_s is not None:
            deadline_s = min(deadline_s, self._clock.monotonic_s() + capability.timeout_s)
        if not self._shared.about:
            await self._shared.running(deadline_s)
        answers = self._answers
        state, task_id = answers.state_for(request, capability), answers.task_for(request, capability)
        if state == OPENED:
            request, state = begun_anew(request), None
        key = self._key(request)
        if request.operation == "task.subscribe" and self._shared.era == "modern":
            # No tool's own bound on a call is one on how long its tasks are followed.
            await self._shared.follow_task(request, task_id, emit, request.budget.deadline_s)
        if request.operation == "subscribe":
            async with self._own.follow(key, deadline_s) if key else nullcontext(self._shared) as program:
                await program.follow(uri_of(request, capability), emit, deadline_s)
        async with self._program(key, request, deadline_s) as program:
            out = outgoing(request, capability, program.era, state, task_id)
            try:
                raw = await program.call(out, request, emit, deadline_s)
            except GatewayError as error:
                pages = pages_asked(error, request)
                if program.era == "modern" or not pages:
                    raise
                raw = asked_in(pages)
            return answers.result(raw, request, capability, program.era)

    @property
    def _runs_for_callers(self) -> bool:
        return self._shared.era == "legacy" and self._settings.processes > 0

    def _key(self, request: Request) -> Key | None:
        """Whose program the request is for; None for everybody's."""
        able = client_capabilities(request) if self._runs_for_callers else {}
        if not able.keys() & _ASKABLE:
            return None
        return (*caller_of(request), _ordered(able).decode())

    @asynccontextmanager
    async def _program(self, key: Key | None, request: Request, deadline_s: float) -> AsyncGenerator[Program]:
        """The program for a call, known to run unless the call began in it."""
        if key is None:
            if self._shared.era == "modern" or not request.continuation:
                await self._shared.running(deadline_s)
            yield self._shared
            return
        if request.continuation and key not in self._own:
            raise not_awaited()
        async with self._own.lease(key, deadline_s) as program:
            yield program

    async def watch(self) -> None:
        """End programs that nobody has used for long, and find out what some clients are shown alone, until canceled.

        For whoever owns a task group; `on_changed` is told of what is found.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._shown.explore, self._on_changed)
            while True:
                await anyio.sleep(TIDY_S)
                await self.tidy()

    async def tidy(self) -> None:
        """End programs that nobody has used for long."""
        await self._own.tidy()

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        with anyio.move_on_after(STOP_S, shield=True):
            async with anyio.create_task_group() as ending:
                ending.start_soon(self._own.aclose)
                ending.start_soon(self._shared.aclose)

    def stderr_tail(self) -> bytes:
        """The newest of what the shared program wrote to standard error; for operators, never for callers."""
        return self._shared.stderr_tail()
