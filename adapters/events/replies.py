"""Answers of workers, by the id of what they answer: those that came, and who waits for one. Knows no broker."""

from collections import OrderedDict

import anyio

from gateway.core.json import Json
from gateway.core.ports.bus import Message

KEPT_AT_MOST = 10_000


class Replies:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._came: OrderedDict[str, Json] = OrderedDict()
        self._waiting: dict[str, anyio.Event] = {}

    async def take(self, message: Message) -> None:
        """An answer came; the first one counts."""
        answers = message.correlation_id or message.id
        if answers not in self._came:
            self._came[answers] = message.body
            while len(self._came) > KEPT_AT_MOST:
                self._came.popitem(last=False)
        waiting = self._waiting.pop(answers, None)
        if waiting is not None:
            waiting.set()

    def has(self, message_id: str) -> bool:
        return message_id in self._came

    async def wait(self, message_id: str) -> Json:
        """The answer to a message, now or once it comes; bounded by whoever waits."""
        while message_id not in self._came:
            event = self._waiting.setdefault(message_id, anyio.Event())
            await event.wait()
        return self._came[message_id]
