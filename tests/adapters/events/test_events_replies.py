"""Answers find those who wait for them, and nothing is left of those who have gone."""

import anyio
import pytest

from adapters.events.replies import Replies
from gateway.core.json import Json
from gateway.core.ports.bus import Message

pytestmark = pytest.mark.anyio


async def test_who_goes_away_before_the_answer_leaves_nothing_behind() -> None:
    replies = Replies()
    for number in range(3):
        with anyio.move_on_after(0):
            await replies.wait(f"m{number}")
    assert replies.waited_for == 0


async def test_everybody_who_waits_gets_the_answer_whoever_has_gone_meanwhile() -> None:
    replies, heard = Replies(), list[Json]()

    async def wait() -> None:
        heard.append(await replies.wait("m"))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0):
                await replies.wait("m")
            await replies.take(Message(id="m", topic="replies", body={"n": 1}))
            await replies.take(Message(id="m", topic="replies", body={"n": 2}))
    assert heard == [{"n": 1}, {"n": 1}]
    assert replies.waited_for == 0
