"""An answer that has begun to arrive before anybody reads it."""

import asyncio

import anyio
import pytest

from adapters.net.response import HIGH_BYTES, Response

pytestmark = pytest.mark.anyio


class Socket:
    """Stops being read when there is no room for more, as a connection's does."""

    def __init__(self) -> None:
        self.is_read = True
        self.response = Response(self, asyncio.get_running_loop().create_future(), 60.0, "orders")

    def receive(self, data: bytes) -> None:
        if not self.response.feed(data):
            self.is_read = False

    def resume(self) -> None:
        self.is_read = True

    def abort(self) -> None:
        self.is_read = False

    def hurry(self, until_s: float) -> None:
        raise AssertionError("nobody is in a hurry")


async def test_a_large_answer_of_which_much_came_before_it_was_read_is_read_whole() -> None:
    socket = Socket()
    socket.response.begin(200, {})
    socket.receive(b"a" * (HIGH_BYTES + 1))
    assert not socket.is_read
    found: list[bytes] = []

    async def read() -> None:
        found.append(await socket.response.read(4 * HIGH_BYTES))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert socket.is_read
            socket.receive(b"b" * HIGH_BYTES)
            assert socket.is_read
            socket.response.finish()
    assert found == [b"a" * (HIGH_BYTES + 1) + b"b" * HIGH_BYTES]
