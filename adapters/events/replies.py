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
        self._waiting: dict[str, list[anyio.Event]] = {}

    async def take(self, message: Message) -> None:
        """An answer came; the first one counts."""
        answers = message.correlation_id or message.id
        if answers not in self._came:
            self._came[answers] = message.body
            while len(self._came) > KEPT_AT_MOST:
                self._came.popitem(last=False)
        for waiting in self._waiting.pop(answers, ()):
            waiting.set()

    def has(self, message_id: str) -> bool:
        return message_id in self._came

    async def wait(self, message_id: str) -> Json:
        """The answer to a message, now or once it comes; bounded by whoever waits."""
        while message_id not in self._came:
            event = anyio.Event()
            self._waiting.setdefault(message_id, []).append(event)
            try:
                await event.wait()
            finally:
                self._gone(message_id, event)
        return self._came[message_id]

    @property
    def waited_for(self) -> int:
        """How many answers somebody waits for."""
        return len(self._waiting)

    def _gone(self, message_id: str, event: anyio.Event) -> None:
        left = [each for each in self._waiting.get(message_id, ()) if each is not event]
        if left:
            self._waiting[message_id] = left
        else:
            self._waiting.pop(message_id, None)
