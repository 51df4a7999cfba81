"""Who makes room for whom before a legacy server, and that nobody is forgotten on the way: no sockets, no processes."""

import anyio
import pytest

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_program import Program, Recipe
from adapters.mcp.client_programs import Programs
from adapters.mcp.client_sessions import Key, Session, Sessions
from adapters.mcp.client_told import Told
from adapters.mcp.settings import ServerSettings
from gateway.core.errors import Exhausted
from tests.fakes_mcp_client import LoopClock, parts
from tests.fakes_mcp_door import together

pytestmark = pytest.mark.anyio

WITHIN_S = 60.0


def key(who: str) -> Key:
    return ("default", who, "")


async def test_a_session_that_is_being_opened_keeps_its_place() -> None:
    clock, held, begun = LoopClock(), anyio.Event(), anyio.Event()
    opened: list[Session] = []
    let_go: list[Session] = []

    async def open_session(whose: Key, deadline_s: float) -> Session:
        if whose == key("ana"):
            begun.set()
            await held.wait()
        session = Session(id=whose[1].encode(), lines=b"", init={}, told=Told({}, {}))
        opened.append(session)
        return session

    sessions = Sessions(open_session, let_go.append, let_go.append, most=2, idle_s=60.0, clock=clock)
    with anyio.fail_after(WITHIN_S):
        async with together() as group:
            group.start_soon(sessions.get, key("ana"), clock.monotonic_s() + WITHIN_S)
            await begun.wait()
            for who in ("bob", "cid", "dan"):
                await sessions.get(key(who), clock.monotonic_s() + WITHIN_S)
            held.set()
    assert sessions.now(key("ana")) is not None
    kept = sessions.take_all()
    assert {each.id for each in (*kept, *let_go)} == {each.id for each in opened}
    assert len(kept) == 2


async def test_no_caller_takes_every_session() -> None:
    clock = LoopClock()
    let_go: list[Session] = []

    async def open_session(whose: Key, deadline_s: float) -> Session:
        return Session(id="/".join(whose).encode(), lines=b"", init={}, told=Told({}, {}))

    sessions = Sessions(open_session, let_go.append, let_go.append, most=4, idle_s=60.0, clock=clock)
    for whose in (key("bob"), key("cid"), *(("default", "eve", str(number)) for number in range(9))):
        await sessions.get(whose, clock.monotonic_s() + WITHIN_S)
    kept = {each.id for each in sessions.take_all()}
    assert kept == {b"default/bob/", b"default/cid/", b"default/eve/7", b"default/eve/8"}
    assert len(let_go) == 7


class Slow(Program):
    """Takes its time to end, once somebody waits for it."""

    def __init__(self, recipe: Recipe, whose: Key) -> None:
        super().__init__(recipe, whose)
        self.ending, self.may_end, self.ended = anyio.Event(), anyio.Event(), False

    async def aclose(self) -> None:
        self.ending.set()
        await self.may_end.wait()
        self.ended = True


def rooms(clock: LoopClock, most: int) -> tuple[Programs, list[Slow]]:
    """Places for so many programs, and those that were made, in order."""
    settings = ServerSettings.model_validate({"command": ["none"]})
    own, made = parts(clock=clock), list[Slow]()
    answers = Answers("shop", settings, own.seal)
    recipe = Recipe(slug="shop", settings=settings, parts=own, answers=answers, on_changed=lambda: None)

    def make(whose: Key) -> Slow:
        made.append(Slow(recipe, whose))
        return made[-1]

    return Programs("shop", make, clock, most=most, idle_s=0.0), made


async def test_whoever_listens_takes_nobodys_place_who_listens() -> None:
    clock = LoopClock()
    programs, made = rooms(clock, 2)
    until_s = clock.monotonic_s() + WITHIN_S
    with anyio.fail_after(WITHIN_S):
        async with programs.follow(key("ana"), until_s), programs.follow(key("bob"), until_s):
            with pytest.raises(Exhausted):
                async with programs.follow(key("cid"), until_s):
                    raise AssertionError
            made[0].may_end.set()
            async with programs.lease(key("cid"), until_s):
                assert [each.ended for each in made] == [True, False, False]


async def test_what_came_in_the_place_of_an_idle_program_is_not_ended_for_it() -> None:
    clock = LoopClock()
    programs, made = rooms(clock, 3)
    with anyio.fail_after(WITHIN_S):
        for who in ("ana", "bob"):
            async with programs.lease(key(who), clock.monotonic_s() + WITHIN_S):
                pass
        ana, bob = made
        async with together() as group:
            group.start_soon(programs.tidy)
            await ana.ending.wait()
            bob.may_end.set()
            # Its caller wants another, for which the idle one has to end; and then the first again.
            async with programs.lease(("default", "bob", '{"roots":{}}'), clock.monotonic_s() + WITHIN_S):
                made[-1].may_end.set()
            async with programs.lease(key("bob"), clock.monotonic_s() + WITHIN_S) as again:
                ana.may_end.set()
                made[-1].may_end.set()
                await anyio.wait_all_tasks_blocked()
                assert (again is made[-1], len(made), made[-1].ended) == (True, 4, False)
    assert [each.ended for each in made[:3]] == [True] * 3


def of_ana(able: str) -> Key:
    """One of the ways in which she comes."""
    return ("default", "ana", f'{{"{able}":{{}}}}')


async def test_whoever_finds_room_waits_for_nobodys_end() -> None:
    clock = LoopClock()
    programs, made = rooms(clock, 4)
    until_s = clock.monotonic_s() + WITHIN_S
    held: list[Program] = []

    async def hold(whose: Key) -> None:
        async with programs.lease(whose, until_s) as program:
            held.append(program)

    with anyio.fail_after(WITHIN_S):
        for able in "ab":
            await hold(of_ana(able))
        async with together() as group:
            # Of one caller's third, the first has to end; nobody else has to wait for that, nor takes its place.
            for _ in range(2):
                group.start_soon(hold, of_ana("c"))
            await made[0].ending.wait()
            await hold(key("bob"))
            async with programs.lease(key("cid"), until_s):
                await anyio.wait_all_tasks_blocked()
                assert (len(made), made[0].ended) == (4, False)
            made[0].may_end.set()
    assert len(made) == 5 and held[-2:] == [made[4], made[4]], "once for both who asked for it"


async def test_a_caller_gets_no_more_places_by_coming_in_many_ways_at_once() -> None:
    clock = LoopClock()
    programs, made = rooms(clock, 4)
    until_s = clock.monotonic_s() + WITHIN_S

    async def use(able: str) -> None:
        async with programs.lease(of_ana(able), until_s):
            pass

    with anyio.fail_after(WITHIN_S):
        await use("a")
        await use("b")
        async with together() as group:
            for able in "cd":
                group.start_soon(use, able)
            await anyio.wait_all_tasks_blocked()
            assert [each.ending.is_set() for each in made] == [True, True]
            for each in made:
                each.may_end.set()
    assert [of_ana(able) in programs for able in "abcd"] == [False, False, True, True]
