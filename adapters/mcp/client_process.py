"""A program that speaks on its standard input and output: started, framed into lines, watched, and stopped in time.

Callbacks instead of tasks, so that nobody has to own a task between two calls. Knows nothing of what the lines say.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol, cast

from gateway.core.errors import Unavailable

_STDERR_BYTES = 64 * 1024
_INPUT_BYTES = 16 * 1024 * 1024
"""Most bytes that wait for a program that does not read."""
_CLOSE_S, _TERMINATE_S, _KILL_S = 1.0, 1.0, 1.0
"""How long it may take to end by itself, after a polite signal, and after the other one."""
_LAST_WORDS_S = 0.2
_INHERITED = ("PATH", "HOME", "LANG")


class Lines(Protocol):
    """Whoever listens to a program."""

    def line(self, raw: bytes) -> None:
        """A line, without its end; never empty."""
        ...

    def overlong(self, head: bytes) -> None:
        """The beginning of a line that was longer than the limit; the rest of it is thrown away."""
        ...

    def ended(self) -> None:
        """The program is gone, or can no longer be heard. Called once."""
        ...


def minimal_environment(more: Mapping[str, str]) -> dict[str, str]:
    """What a program gets: nothing of the gateway's own environment but what it takes to run, and `more`."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(more)


class Process(asyncio.SubprocessProtocol):
    """One run of a program."""

    def __init__(self, lines: Lines, limit_bytes: int) -> None:
        self._lines = lines
        self._limit = limit_bytes
        self._rest = bytearray()
        self._skipping = False
        self._transport: asyncio.SubprocessTransport | None = None
        self._stderr: deque[bytes] = deque()
        self._stderr_bytes = 0
        self._over = False
        self._exited = asyncio.Event()

    @classmethod
    async def start(
        cls, command: tuple[str, ...], *, env: Mapping[str, str], cwd: str, lines: Lines, limit_bytes: int
    ) -> "Process":
        """Start a program in a process group of its own. Raises: Unavailable: it cannot be started."""
        loop = asyncio.get_running_loop()
        try:
            _, process = await loop.subprocess_exec(
                lambda: cls(lines, limit_bytes),
                *command,
                env=dict(env),
                cwd=cwd or None,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Unavailable("the server's command cannot be started", detail={"sent": False}) from error
        return process

    @property
    def alive(self) -> bool:
        return not self._over

    def stderr_tail(self) -> bytes:
        """The newest of what it wrote to standard error; for operators, never for callers."""
        return b"".join(self._stderr)[-_STDERR_BYTES:]

    def send(self, line: bytes) -> None:
        """Write a JSON text as one line. Raises: Unavailable: it is gone, or has long stopped reading; nothing was
        written.
        """
        # Callers' JSON is relayed as it came. A line break between two of its tokens would end the frame, and what
        # comes behind it would be read as a message of its own, judged by nobody.
        if b"\n" in line or b"\r" in line:
            line = line.replace(b"\n", b" ").replace(b"\r", b" ")
        pipe = None if self._over or self._transport is None else self._transport.get_pipe_transport(0)
        if pipe is None or pipe.is_closing():
            raise Unavailable("the server's process is gone", detail={"sent": False})
        stdin = cast("asyncio.WriteTransport", pipe)
        if stdin.get_write_buffer_size() > _INPUT_BYTES:
            raise Unavailable("the server's process does not read what it is sent", detail={"sent": False})
        stdin.write(line + b"\n")

    async def stop(self) -> None:
        """End it: close its input, then ask, then kill, the whole process group; bounded. Idempotent."""
        transport = self._transport
        if transport is None:
            return
        stdin = transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        if not await self._gone_within(_CLOSE_S):
            self._signal(signal.SIGTERM)
            if not await self._gone_within(_TERMINATE_S):
                self._signal(signal.SIGKILL)
                await self._gone_within(_KILL_S)
        transport.close()
        self._end()

    def kill(self) -> None:
        """End it now; for a program that misbehaves."""
        self._signal(signal.SIGKILL)
        self._end()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def _signal(self, number: int) -> None:
        # Once it was waited for, its id may be somebody else's.
        if self._transport is not None and not self._exited.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), number)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._lines.ended()

    def _end_soon(self) -> None:
        """What it said last may still be in the pipe."""
        if not self._over:
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._end)

    # From here on: called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._keep(data)
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = bytes(self._rest) + line if self._rest else line
            self._rest.clear()
            if self._skipping:
                self._skipping = False
            elif len(whole) > self._limit:
                self._lines.overlong(whole[:1024])
            elif stripped := whole.strip():
                self._lines.line(stripped)
        if not self._skipping:
            self._rest += rest
            if len(self._rest) > self._limit:
                self._lines.overlong(bytes(self._rest[:1024]))
                self._rest.clear()
                self._skipping = True

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end()
        elif fd == 0:
            self._end_soon()

    def process_exited(self) -> None:
        self._signal(signal.SIGKILL)  # children that outlived it, and would hold its pipes open
        self._exited.set()
        self._end_soon()

    def _keep(self, data: bytes) -> None:
        self._stderr.append(data[-_STDERR_BYTES:])
        self._stderr_bytes += len(self._stderr[-1])
        while self._stderr_bytes > _STDERR_BYTES and len(self._stderr) > 1:
            self._stderr_bytes -= len(self._stderr.popleft())
