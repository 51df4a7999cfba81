"""A changed file, or SIGHUP, to a new configuration in force: as a whole, or not at all.

Knows how to notice and when to try, nothing of what a configuration changes. A wrong file leaves the old one in force.
"""

import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import anyio.abc
import structlog
import watchfiles

from gateway.config.load import Configuration
from gateway.core.errors import DeadlineExceeded, GatewayError, Internal

log = structlog.get_logger(__name__)

Cause = Literal["changed", "signal", "asked"]
HANG_UP: Sequence[signal.Signals] = tuple(filter(None, (getattr(signal, "SIGHUP", None),)))
"""SIGHUP where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """Another configuration is in force."""

    configuration: Configuration
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The old configuration stays in force."""

    error: GatewayError
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The file says, perhaps again, what is in force."""


Outcome: TypeAlias = "Reloaded | Refused | Unchanged"


class Watcher:
    """Watches the file of `current` and keeps the newest right version of it in force.

    `load` reads the file and may be called from another thread; `apply` brings a configuration into force or raises
    and changes nothing; `report` hears of each attempt before the next. A file whose text did not change is applied
    again only on a signal or when asked, because the secrets it refers to may have changed.

    Others may read the file and bring it into force as well. Whoever does both holds `turn` from before the one until
    after the other: what was read earlier never comes into force after what was read later.
    """

    def __init__(
        self,
        *,
        current: Callable[[], Configuration],
        load: Callable[[], Configuration],
        apply: Callable[[Configuration], Awaitable[None]],
        report: Callable[[Outcome], None],
        turn: anyio.Lock,
        settle_s: float = 0.3,
        poll_s: float = 5.0,
        timeout_s: float = 30.0,
    ) -> None:
        self._current = current
        self._load = load
        self._apply = apply
        self._report = report
        self._turn = turn
        self._settle_s = settle_s
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._source = current().source
        self._seen = _signature(self._source)
        self._refused = ""
        self._cause: Cause | None = None
        self._wanted = anyio.Event()

    def ask(self, cause: Cause = "asked") -> None:
        """Have the file read again soon. Asking again before that changes nothing."""
        if self._cause in (None, "changed"):
            self._cause = cause
        self._wanted.set()

    async def run(
        self,
        *,
        signals: Sequence[signal.Signals] = HANG_UP,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch until cancelled. Ready once signals are listened for."""
        async with anyio.create_task_group() as tasks:
            if signals:
                await tasks.start(self._listen, signals)
            stop = anyio.Event()
            tasks.start_soon(self._watch, stop)
            task_status.started()
            try:
                while True:
                    await self._wanted.wait()
                    # Editors write in several steps, and several files are often changed together.
                    await anyio.sleep(self._settle_s)
                    await self._reload()
            finally:
                # The thread that waits for changes is not cancelled with us; only this ends it at once.
                stop.set()

    async def _reload(self) -> None:
        cause, self._cause = self._cause or "asked", None
        self._wanted = anyio.Event()
        self._seen = _signature(self._source)
        try:
            with anyio.fail_after(self._timeout_s):
                async with self._turn:
                    configuration = await anyio.to_thread.run_sync(self._load, abandon_on_cancel=True)
                    if cause == "changed" and configuration.digest == self._refused:
                        return
                    if cause == "changed" and configuration.digest == self._current().digest:
                        self._refused = ""
                        self._report(Unchanged())
                        return
                    self._refused = configuration.digest
                    await self._apply(configuration)
        except GatewayError as error:
            self._report(Refused(error=error, cause=cause))
            return
        except TimeoutError:
            late = DeadlineExceeded(f"the new configuration was not in force within {self._timeout_s:g} seconds")
            self._report(Refused(error=late, cause=cause))
            return
        except Exception:
            log.exception("reload failed")
            self._report(Refused(error=Internal("the new configuration could not be brought into force"), cause=cause))
            return
        self._refused = ""
        self._report(Reloaded(configuration=configuration, cause=cause))

    async def _listen(self, signals: Sequence[signal.Signals], *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*signals) as received:
            task_status.started()
            async for _ in received:
                self.ask("signal")

    async def _watch(self, stop: anyio.Event) -> None:
        """Ask whenever the file looks different. The directory is watched, because editors and orchestrators put
        another file, or another link, in the old one's place; and looked at now and then, because not every file
        system tells."""
        directory = self._source.absolute().parent
        changes = watchfiles.awatch(  # pyright: ignore[reportUnknownMemberType] - names Trio's event, which is not here
            directory,
            stop_event=stop,
            watch_filter=None,
            recursive=False,
            debounce=100,
            rust_timeout=int(self._poll_s * 1000),
            yield_on_timeout=True,
        )
        try:
            async with aclosing(changes):
                async for _ in changes:
                    self._look()
        except (OSError, RuntimeError) as error:
            log.warning("cannot watch the configuration, looking at it now and then", error=str(error))
        while True:
            await anyio.sleep(self._poll_s)
            self._look()

    def _look(self) -> None:
        signature = _signature(self._source)
        # A file that is gone is about to be put back, or left out on purpose: either way nothing new to read.
        if signature is not None and signature != self._seen:
            self._seen = signature
            self.ask("changed")


def _signature(path: Path) -> tuple[int, int, int] | None:
    """What differs once a file was written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
