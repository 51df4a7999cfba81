"""A worker outside the gateway: it takes messages of the topic `ocr` and answers them. Plain FastStream, no Drawbridge.

    pip install 'faststream[redis]'
    REDIS_URL=redis://127.0.0.1:6379 python -m examples.bus.worker

Four things make it a worker of a bus in the gateway's configuration:

- it reads the topic's stream in the group the configuration names (`drawbridge`), so that each message goes to one
  worker, and as many workers as you like share the work;
- what it returns goes to the stream of answers (`drawbridge.replies`); FastStream hands the message's correlation id
  on, and by that the gateway finds the call that waits;
- what it raises leaves the message unacknowledged. The second subscriber takes what was left lying for a minute, be it
  by this worker or by one that died;
- `{"error": "..."}` is an answer, too: the call fails with these words, and is not tried again.
"""

import asyncio
import os
import socket

from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

TOPIC, GROUP, REPLIES = "ocr", "drawbridge", "drawbridge.replies"
LEFT_LYING_MS = 60_000


class Page(BaseModel):
    page: int


def read(page: int) -> dict[str, str]:
    """What stands on a page."""
    return {"text": f"The words of page {page}."} if page > 0 else {"error": f"there is no page {page}"}


def make_app(url: str, *, left_lying_ms: int = LEFT_LYING_MS) -> FastStream:
    """The worker, not running yet."""
    broker = RedisBroker(url)
    me = f"{socket.gethostname()}-{os.getpid()}"
    new = StreamSub(TOPIC, group=GROUP, consumer=me, polling_interval=100)
    left = StreamSub(TOPIC, group=GROUP, consumer=f"{me}-left", polling_interval=1000, min_idle_time=left_lying_ms)

    @broker.subscriber(stream=new, ack_policy=AckPolicy.NACK_ON_ERROR)
    @broker.subscriber(stream=left, ack_policy=AckPolicy.NACK_ON_ERROR)
    @broker.publisher(stream=REPLIES)
    async def ocr(body: Page) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction] - FastStream calls it
        return read(body.page)

    return FastStream(broker)


if __name__ == "__main__":
    asyncio.run(make_app(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")).run())
