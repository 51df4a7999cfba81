"""Reloading: real files, real signals; a wrong file changes nothing."""

import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from gateway.config.load import Configuration, load
from gateway.config.problems import ConfigurationError
from gateway.config.watch import Outcome, Refused, Reloaded, Unchanged, Watcher
from gateway.core.errors import DeadlineExceeded, Internal, Unavailable
from gateway.core.limits import Limits

pytestmark = pytest.mark.anyio
SECTIONS = {"limits": Limits}


class Bench:
    """A watcher on a file, what it applied, and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "gateway.yaml"
        self.file.write_text("limits: {depth: 1}\n")
        self.applied: list[int] = []
        self.failure: Exception | None = None
        self.tells_all = False
        """Also that a file says the same: one that is put in the old one's place may be noticed more than once."""
        sender, self._outcomes = anyio.create_memory_object_stream[Outcome](16)
        read = partial(load, self.file, SECTIONS)
        self.current = read()
        self.turn = anyio.Lock()
        self.loading: Callable[[], None] = lambda: None
        self.watcher = Watcher(
            current=lambda: self.current,
            load=self.load,
            apply=self.apply,
            report=self.report,
            turn=self.turn,
            settle_s=0.01,
            poll_s=0.1,
        )
        self._read = read
        self._sender = sender

    def report(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Unchanged) or self.tells_all:
            self._sender.send_nowait(outcome)

    def load(self) -> Configuration:
        configuration = self._read()
        self.loading()
        return configuration

    async def apply(self, configuration: Configuration) -> None:
        if self.failure is not None:
            raise self.failure
        self.current = configuration
        self.applied.append(self.depth)

    def write(self, text: str) -> None:
        """As editors do: a new file in the old one's place."""
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.file)

    async def outcome(self) -> Outcome:
        with anyio.fail_after(120):
            return await self._outcomes.receive()

    async def comes_to(self, kind: type[Refused | Unchanged]) -> None:
        while not isinstance(await self.outcome(), kind):
            pass

    def close(self) -> None:
        self._sender.close()
        self._outcomes.close()

    @property
    def depth(self) -> int:
        return self.current.section("limits", Limits).depth


@asynccontextmanager
async def watching(directory: Path) -> AsyncGenerator[Bench]:
    bench = Bench(directory)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.watcher.run)
            yield bench
            tasks.cancel_scope.cancel()
    finally:
        bench.close()


async def test_a_changed_file_comes_into_force(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        bench.write("limits: {depth: 2}\n")

        outcome = await bench.outcome()

        assert isinstance(outcome, Reloaded)
        assert (outcome.cause, bench.applied, bench.depth) == ("changed", [2], 2)


async def test_a_wrong_file_leaves_the_old_one_in_force_and_the_next_right_one_counts(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        bench.write("limits: {depht: 2}\n")
        wrong = await bench.outcome()
        assert isinstance(wrong, Refused)
        assert isinstance(wrong.error, ConfigurationError)
        assert (bench.applied, bench.depth) == ([], 1)

        bench.write("limits: {depth: 3}\n")
        right = await bench.outcome()

        assert isinstance(right, Reloaded)
        assert (bench.applied, bench.depth) == ([3], 3)


async def test_a_file_put_back_is_told_and_what_was_wrong_before_is_refused_again(
    tmp_path: Path,
) -> None:
    async with watching(tmp_path) as bench:
        bench.tells_all, bench.failure = True, Unavailable("no")
        for _ in range(2):
            bench.write("limits: {depth: 2}\n")
            await bench.comes_to(Refused)
            bench.write("limits: {depth: 1}\n")
            await bench.comes_to(Unchanged)
        assert (bench.applied, bench.depth) == ([], 1)


async def test_a_configuration_that_cannot_be_applied_is_not_in_force(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        bench.failure = Unavailable("no")
        bench.write("limits: {depth: 2}\n")
        refused = await bench.outcome()
        assert isinstance(refused, Refused)
        assert refused.error is bench.failure
        assert bench.depth == 1

        bench.failure = ValueError("a bug")
        bench.watcher.ask()
        broken = await bench.outcome()
        assert isinstance(broken, Refused)
        assert isinstance(broken.error, Internal)
        assert "bug" not in broken.error.message

        bench.failure = None
        bench.watcher.ask()
        assert isinstance(await bench.outcome(), Reloaded)
        assert bench.depth == 2


async def test_what_was_read_earlier_never_comes_into_force_after_what_was_read_later(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        read, proceed = threading.Event(), threading.Event()

        def wait() -> None:
            read.set()
            assert proceed.wait(10)

        async def as_somebody_asks() -> None:
            async with bench.turn:
                bench.loading = lambda: None
                await bench.apply(bench.load())

        bench.loading = wait
        bench.write("limits: {depth: 2}\n")
        assert await anyio.to_thread.run_sync(read.wait, 10)
        bench.write("limits: {depth: 3}\n")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(as_somebody_asks)
            await anyio.wait_all_tasks_blocked()
            proceed.set()
        await bench.outcome()

        assert (bench.applied, bench.depth) == ([2, 3], 3)


async def test_a_file_put_back_after_somebody_else_had_it_read_comes_into_force(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        async with bench.turn:
            bench.write("limits: {depth: 2}\n")
            await bench.apply(bench.load())
            bench.write("limits: {depth: 1}\n")

        await bench.outcome()

        assert (bench.applied, bench.depth) == ([2, 1], 1)


async def test_sighup_applies_a_file_that_did_not_change(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        os.kill(os.getpid(), signal.SIGHUP)

        outcome = await bench.outcome()

        assert isinstance(outcome, Reloaded)
        assert (outcome.cause, bench.applied) == ("signal", [1])


async def test_a_file_touched_but_not_changed_is_left_alone(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        bench.write("limits: {depth: 1}\n")
        os.utime(bench.file, ns=(1, 1))
        bench.write("limits: {depth: 4}\n")

        await bench.outcome()

        assert bench.applied == [4]


async def test_a_file_that_goes_and_comes_back_is_read_then(tmp_path: Path) -> None:
    async with watching(tmp_path) as bench:
        bench.file.unlink()
        bench.watcher.ask()
        gone = await bench.outcome()
        assert isinstance(gone, Refused)
        assert bench.depth == 1

        bench.write("limits: {depth: 5}\n")
        assert isinstance(await bench.outcome(), Reloaded)
        assert bench.depth == 5


async def test_a_link_put_in_the_old_ones_place_is_noticed(tmp_path: Path) -> None:
    first, second, held = tmp_path / "1", tmp_path / "2", tmp_path / "held"
    first.mkdir()
    held.mkdir()
    second.mkdir()
    (second / "gateway.yaml").write_text("limits: {depth: 7}\n")
    bench = Bench(first)
    link = held / "gateway.yaml"
    link.symlink_to(bench.file)
    read = partial(load, link, SECTIONS)
    applied = anyio.Event()

    async def apply(configuration: Configuration) -> None:
        await bench.apply(configuration)
        applied.set()

    bench.current = read()
    watcher = Watcher(
        current=lambda: bench.current,
        load=read,
        apply=apply,
        report=lambda _: None,
        turn=bench.turn,
        settle_s=0.0,
        poll_s=0.1,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(watcher.run, signals=()))
        beside = held / "new"
        beside.symlink_to(second / "gateway.yaml")
        beside.replace(link)
        with anyio.fail_after(120):
            await applied.wait()
        tasks.cancel_scope.cancel()
    bench.close()

    assert bench.depth == 7


async def test_an_apply_that_hangs_is_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    outcomes: list[Outcome] = []
    reported = anyio.Event()

    def report(outcome: Outcome) -> None:
        outcomes.append(outcome)
        reported.set()

    async def hang(configuration: Configuration) -> None:
        await anyio.sleep_forever()

    watcher = Watcher(
        current=lambda: bench.current,
        load=partial(load, bench.file, SECTIONS),
        apply=hang,
        report=report,
        turn=bench.turn,
        settle_s=0.0,
        timeout_s=0.05,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(watcher.run)
        watcher.ask()
        with anyio.fail_after(120):
            await reported.wait()
        tasks.cancel_scope.cancel()
    bench.close()

    assert isinstance(outcomes[0], Refused)
    assert isinstance(outcomes[0].error, DeadlineExceeded)


async def test_a_directory_that_cannot_be_watched_is_looked_at_now_and_then(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    bench = Bench(directory)
    bench.file.unlink()
    directory.rmdir()
    async with anyio.create_task_group() as tasks:
        await tasks.start(bench.watcher.run)
        directory.mkdir()
        bench.write("limits: {depth: 6}\n")
        assert isinstance(await bench.outcome(), Reloaded)
        tasks.cancel_scope.cancel()
    bench.close()

    assert bench.depth == 6


async def test_a_file_that_says_the_same_is_not_applied_again_unless_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    read = anyio.Event()
    outcomes: list[Refused | Reloaded] = []

    def reading() -> Configuration:
        anyio.from_thread.run_sync(read.set)
        return load(bench.file, SECTIONS)

    def report(outcome: Outcome) -> None:
        if not isinstance(outcome, Unchanged):
            outcomes.append(outcome)
            done.set()

    done = anyio.Event()
    watcher = Watcher(
        current=lambda: bench.current,
        load=reading,
        apply=bench.apply,
        report=report,
        turn=bench.turn,
        settle_s=0.0,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(watcher.run)
        watcher.ask("changed")
        with anyio.fail_after(120):
            await read.wait()
            await anyio.wait_all_tasks_blocked()
            watcher.ask("signal")
            watcher.ask("asked")
            await done.wait()
        tasks.cancel_scope.cancel()
    bench.close()

    assert [outcome.cause for outcome in outcomes] == ["signal"]
