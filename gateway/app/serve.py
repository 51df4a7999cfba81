"""A gateway from start to end: its port bound, its files opened, its doors open until a signal closes them."""

import gc
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio
import structlog

from adapters.http.settings import ListenSettings
from adapters.identity.keyfiles import OperatorKey
from adapters.storage.directory import DataDirectory, Endpoint
from gateway.app.composition import Composition
from gateway.app.doors import Doors, doors_of
from gateway.app.foundation import Foundation, open_foundation
from gateway.app.listening import Listener, address_of, bound
from gateway.app.reloading import Reloading
from gateway.app.sections import Sections, load_configuration
from gateway.config.watch import Outcome, Refused, Reloaded, Watcher
from gateway.core.errors import InvalidRequest
from gateway.core.model import DEFAULT_TENANT
from gateway.plugins import load_patterns

log = structlog.get_logger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
YOUNG_OBJECTS = 50_000
"""Allocations between two collections of the youngest objects: calls leave no cycles behind, so rarely is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What whoever started the gateway may want to show."""

    address: str
    operator: OperatorKey
    gaps: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How to serve; what is None comes from the configuration."""

    config: Path
    data: DataDirectory
    host: str | None = None
    port: int | None = None
    on_ready: Callable[[Ready], None] = lambda ready: None
    """Called once, when the gateway answers."""


def serve(options: ServeOptions) -> None:
    """Run a gateway until SIGINT or SIGTERM. SIGHUP, and a change of the file, read the configuration again.

    Raises: GatewayError: it cannot start; says why and what to do.
    """
    anyio.run(_serve, options, backend_options={"use_uvloop": sys.platform != "win32"})


async def _serve(options: ServeOptions) -> None:
    sections = Sections(load_configuration(options.config, options.data))
    given = {"host": options.host, "port": options.port}
    listen = sections.listen.model_copy(update={name: value for name, value in given.items() if value is not None})
    with bound(listen) as listening:
        port: int = listening.getsockname()[1]
        address = address_of(listen, listening)
        async with open_foundation(options.data, sections) as foundation:
            foundation.reached_at(listen.public_url or address)
            composition = Composition(foundation, sections, load_patterns(sections.patterns))
            async with composition.running():
                _refuse_demo_keys(foundation, listen)
                doors = doors_of(composition, listen, port=port, address=address)
                async with doors.mcp.running():
                    await _answer(options, composition, doors, listening, address)


async def _answer(
    options: ServeOptions, composition: Composition, doors: Doors, listening: socket.socket, address: str
) -> None:
    """Answer on the bound port until a signal says to stop."""
    server = Listener(doors.application)
    foundation = composition.foundation
    endpoint = Endpoint(url=address, pid=os.getpid(), started_at_us=foundation.clock.now_us())
    watcher = Watcher(
        current=lambda: composition.sections.configuration,
        load=partial(load_configuration, options.config, options.data),
        apply=composition.apply,
        report=partial(_report, composition, doors.reloading),
        turn=composition.turn,
    )

    async def stop_on_signal() -> None:
        with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            async for _ in signals:
                doors.health.stopping = True
                composition.leave()
                doors.mcp.stop()
                server.should_exit = True

    async def become_ready() -> None:
        await server.listening.wait()
        _settle_memory()
        doors.health.ready = True
        foundation.directory.write_endpoint(endpoint)
        gaps = dict(composition.pipeline.gaps(DEFAULT_TENANT))
        options.on_ready(Ready(address=address, operator=foundation.operator, gaps=gaps))

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_on_signal)
            tasks.start_soon(watcher.run)
            tasks.start_soon(become_ready)
            await server.serve(sockets=[listening])
            tasks.cancel_scope.cancel()
    finally:
        foundation.directory.remove_endpoint()


def _report(composition: Composition, reloading: Reloading, outcome: Outcome) -> None:
    if isinstance(outcome, Refused):
        reloading.refuse(outcome.error, outcome.cause)
        log.warning(
            "configuration not reloaded; the present one stays", cause=outcome.cause, problem=outcome.error.message
        )
        return
    reloading.clear()
    if isinstance(outcome, Reloaded):
        waiting = composition.waiting_for_a_start()
        log.info("configuration reloaded", cause=outcome.cause, takes_effect_at_next_start=list(waiting))


def _refuse_demo_keys(foundation: Foundation, listen: ListenSettings) -> None:
    if foundation.authenticator.uses_demo_keys and listen.host not in LOOPBACK:
        raise InvalidRequest(
            f"demo keys are in use, and anybody can read those: {listen.host} is not bound. "
            "Mint keys with `drawbridge keys mint`, or listen on 127.0.0.1"
        )


def _settle_memory() -> None:
    """What is there now stays: it need not be looked at by every collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
