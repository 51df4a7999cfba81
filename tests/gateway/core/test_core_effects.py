"""An effect happens once, whichever of several processes is asked for it, and is only in doubt when nobody is at it."""

import anyio
import pytest

from gateway.core.content import Content, Part, Plain, content_from_json, content_of, data_part, text_part
from gateway.core.effects import Effects
from gateway.core.errors import Conflict, InDoubt, Unavailable, UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.model import Capability, Complete
from gateway.testing.stores.effects import KeptEffect, MemoryEffectLedger
from tests.fakes import FakeClock, a_request

pytestmark = pytest.mark.anyio

REFUND = Capability(name="tool:orders/refund", kind="tool", owner="orders", local="refund")
KNOWS_KEYS = Capability(name="tool:orders/refund", kind="tool", owner="orders", local="refund", idempotency="meta")
ANSWER = Complete(body=Plain(content_of({"refunded": 20})))
LATE = 1000.0
"""No time is left."""


def two_processes(living: tuple[str, ...] = ("a", "b")) -> tuple[Effects, Effects]:
    effects: dict[tuple[str, str], KeptEffect] = {}
    a, b = (MemoryEffectLedger(process=name, effects=effects, living=living) for name in ("a", "b"))
    return Effects(a, FakeClock()), Effects(b, FakeClock())


@pytest.mark.parametrize("capability", [REFUND, KNOWS_KEYS])
async def test_what_is_under_way_at_another_process_is_waited_for_and_not_made_again(capability: Capability) -> None:
    a, b = two_processes()
    request = a_request(key="k", arguments={"n": 1})
    assert await a.begin(request, capability, "k") is None
    heard: list[Complete | None] = []

    async def ask() -> None:
        heard.append(await b.begin(request, capability, "k"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await a.done(request, "k", ANSWER)

    [answer] = heard
    assert answer is not None
    assert answer.body.content().structured == {"refunded": 20}


async def test_an_answer_that_is_given_again_says_all_it_said() -> None:
    a, b = two_processes()
    parts = (text_part("done"), data_part({"n": 1}), Part(kind="raw", raw="AAE=", media_type="image/png", name="r.png"))
    said = Content(parts=parts, structured={"n": 1}, metadata={"trace": "t"})
    await a.begin(a_request(key="k"), REFUND, "k")
    await a.done(a_request(key="k"), "k", Complete(body=Plain(said), is_error=True))

    answer = await b.begin(a_request(key="k"), REFUND, "k")

    assert answer is not None
    assert (answer.body.content(), answer.is_error) == (said, True)


def test_what_an_earlier_version_kept_of_an_answer_is_read_as_it_was_meant() -> None:
    former: JsonObject = {
        "kind": "text",
        "text": "done",
        "data": None,
        "raw": "",
        "url": "",
        "media_type": "text/plain",
        "name": "",
    }

    assert content_from_json({"parts": [former], "structured": {"n": 1}}) == Content(
        parts=(text_part("done"),), structured={"n": 1}
    )


@pytest.mark.parametrize("capability", [REFUND, KNOWS_KEYS])
async def test_who_has_no_time_to_wait_may_repeat_the_call(capability: Capability) -> None:
    a, b = two_processes()
    await a.begin(a_request(key="k"), capability, "k")

    with pytest.raises(Conflict) as refused:
        await b.begin(a_request(key="k", deadline_s=LATE), capability, "k")

    assert not isinstance(refused.value, InDoubt)
    assert refused.value.retry_after_s is not None
    assert refused.value.detail["sent"] is False


@pytest.mark.parametrize("error", [UpstreamFailed("no answer"), TimeoutError()])
async def test_what_another_process_gave_up_is_in_doubt_at_once(error: Exception) -> None:
    a, b = two_processes()
    await a.begin(a_request(key="k"), REFUND, "k")
    await a.failed(a_request(key="k"), "k", error)

    with pytest.raises(InDoubt):
        await b.begin(a_request(key="k"), REFUND, "k")


async def test_what_certainly_did_not_happen_at_another_process_is_begun_here() -> None:
    a, b = two_processes()
    request = a_request(key="k")
    await a.begin(request, REFUND, "k")
    heard: list[Complete | None] = []

    async def ask() -> None:
        heard.append(await b.begin(request, REFUND, "k"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await a.failed(request, "k", Unavailable("nobody there"))

    assert heard == [None]


async def test_what_a_process_that_died_had_under_way_is_in_doubt() -> None:
    a, b = two_processes(living=("b",))
    await a.begin(a_request(key="k"), REFUND, "k")

    with pytest.raises(InDoubt):
        await b.begin(a_request(key="k"), REFUND, "k")
