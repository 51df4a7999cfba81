"""What a program lists to clients that can be asked for something, where it lists more to them than to others.

A program is told once what its client can do, so each way of asking takes a program of its own, which ends when its
list has been read. That takes its time: lists are given without it, and again once it is known. It holds for as long
as the list everybody is shown does.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias

import anyio

from adapters.mcp.client_listing import Ask, read_listing
from adapters.mcp.client_program import START_S, Program, Recipe
from adapters.mcp.wire import encode
from gateway.core.errors import GatewayError, Unavailable
from gateway.core.json import JsonObject
from gateway.core.ports.upstream import Listing

STOP_S = 5.0
"""Longest the end of a program may take, seconds."""
_AGAIN_S, _FAILED_S = 60.0, 600.0
"""How long nobody is asked again, seconds; and after a program could not be asked."""
_TOOLS = "tools/list"
_Asked: TypeAlias = Callable[[JsonObject, str, JsonObject], Awaitable[JsonObject]]


class Shown:
    """Of one server."""

    def __init__(self, recipe: Recipe, shared: Program) -> None:
        """`shared`: the program that serves everybody."""
        # What a program says that is only asked for its list is no news.
        self._recipe = replace(recipe, on_changed=lambda: None)
        self._shared = shared
        self._clock = recipe.parts.clock
        self._known: dict[bytes, JsonObject] = {}
        self._base = b""
        self._wanted = anyio.Event()
        self._not_before_s = 0.0

    async def listing(self, deadline_s: float) -> Listing:
        """Every list, with what is known of those other clients are shown. Raises: see `read_listing`."""
        return await self._read(self._remembered, deadline_s)

    async def explore(self, on_changed: Callable[[], None]) -> None:
        """Find out what other clients are shown whenever it has to be known, until canceled; `on_changed` is told."""
        while True:
            await self._wanted.wait()
            await anyio.sleep(max(0.0, self._not_before_s - self._clock.monotonic_s()))
            self._wanted = anyio.Event()
            if await self._explored():
                on_changed()

    async def _explored(self) -> bool:
        """Whether other clients are shown anything else."""
        visit = _Visit(self._recipe)
        failed = False

        async def asked(able: JsonObject, method: str, params: JsonObject) -> JsonObject:
            nonlocal failed
            try:
                said = await visit.ask(able, method, params)
            except GatewayError:
                failed = True
                raise
            self._known[encode([able, method, params])] = said
            return said

        try:
            listing = await self._read(asked, self._clock.monotonic_s() + START_S)
        except GatewayError:
            return False  # whoever reads the lists learns of it
        finally:
            await visit.end()
            self._not_before_s = self._clock.monotonic_s() + (_FAILED_S if failed else _AGAIN_S)
        return any(each.needs for each in listing.capabilities)

    async def _read(self, asked: _Asked, deadline_s: float) -> Listing:
        about = self._shared.about
        digest = sha256(encode(about))

        async def noting(method: str, params: JsonObject) -> JsonObject:
            said = await self._shared.ask(method, params, deadline_s)
            if method == _TOOLS:
                digest.update(encode(said))
            return said

        def ask_as(able: JsonObject) -> Ask:
            async def ask(method: str, params: JsonObject) -> JsonObject:
                if not able:
                    return await self._shared.ask(method, params, deadline_s)
                if digest.digest() != self._base:
                    self._base, self._known = digest.digest(), {}
                return await asked(able, method, params)

            return ask

        return await read_listing(self._recipe.slug, self._recipe.settings, about, noting, ask_as)

    async def _remembered(self, able: JsonObject, method: str, params: JsonObject) -> JsonObject:
        known = self._known.get(encode([able, method, params]))
        if known is None:
            self._wanted.set()
            raise Unavailable("it is not known yet what such clients are shown")
        return known


class _Visit:
    """Programs started to be asked one after the other."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._able: JsonObject = {}
        self._program: Program | None = None

    async def ask(self, able: JsonObject, method: str, params: JsonObject) -> JsonObject:
        """The result, said to a client that can be asked for `able`."""
        if self._program is None or self._able != able:
            await self.end()
            self._program, self._able = Program(self._recipe, ("", "", encode(able).decode())), able
        return await self._program.ask(method, params, self._recipe.parts.clock.monotonic_s() + START_S)

    async def end(self) -> None:
        """End the last of them."""
        program, self._program = self._program, None
        if program is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                await program.aclose()
