"""What all brokers behind FastStream have in common: opening, working, following, and messages there and back.

FastStream runs its subscribers in tasks of its own; a subscriber lives exactly as long as the `work` or `follow` that
asked for it. A message's id travels as its correlation id, which FastStream hands on to whatever a worker publishes.
Bodies are read here: what FastStream cannot read it would hand out again for ever.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, cast

import anyio
import orjson
import structlog
from faststream import AckPolicy, Context
from faststream.exceptions import FastStreamException

from gateway.core.errors import GatewayError, InvalidRequest, Unavailable
from gateway.core.json import Json
from gateway.core.ports.bus import BusLimits, Handler, Message

log = structlog.get_logger(__name__)

TRACEPARENT = "traceparent"
REPLY_TO = "x-reply-to"
"""Where an answer is expected. A header of our own: FastStream's `reply_to` is answered where nothing is kept."""
CORRELATION = "correlation_id"
"""FastStream's own header. A message that answers another has the other's id here, and its own in the next."""
ID = "x-id"
CONNECT_WITHIN_S = 5.0
JOIN_WITHIN_S = 20.0
"""How long it may take until one more worker shares a topic: on Kafka, the others have to agree first."""
CLOSE_WITHIN_S = 5.0
LOOK_AFTER_S = 0.5
"""How often to see whether subscribers are still at work."""
IDS_AT_MOST = 10_000
"""Ids this process remembers having published, so that it does not even ask the broker."""


class FaststreamBus(ABC):
    """See `Bus`."""

    name = "broker"
    """For people."""
    failures: tuple[type[Exception], ...] = (FastStreamException, OSError, TimeoutError)
    """What says that the broker cannot be reached, or refuses."""

    def __init__(self, broker: Any, limits: BusLimits) -> None:
        self.broker = broker
        self.limits = limits
        self._opening = anyio.Lock()
        self._open = False
        self._published: dict[tuple[str, str], None] = {}

    async def open(self) -> None:
        async with self._opening:
            if not self._open:
                await self.reached(self.start)
                self._open = True

    async def prepare(self, topic: str) -> None:
        await self.open()
        await self.reached(lambda: self.declare(topic))

    async def keep(self, topic: str) -> None:
        await self.open()
        await self.reached(lambda: self.declare_kept(topic))

    async def publish(self, message: Message) -> None:
        await self.open()
        named = (message.topic, message.id)
        if named in self._published:
            return
        await self.reached(lambda: self.send(message))
        self._published[named] = None
        if len(self._published) > IDS_AT_MOST:
            del self._published[next(iter(self._published))]

    async def work(self, topic: str, group: str, handler: Handler) -> None:
        await self.open()
        await self.reached(lambda: self.declare(topic))
        await self._subscribed(self.workers(topic, group), topic, handler)

    async def follow(self, topic: str, handler: Handler) -> None:
        async def unfailing(message: Message) -> None:
            try:
                await handler(message)
            except Exception:
                # A handler's boundary: the next messages have nothing to do with it.
                log.exception("a message was not followed", topic=topic, message=message.id)

        await self.open()
        await self.reached(lambda: self.declare_kept(topic))
        await self._subscribed([self.follower(topic)], topic, unfailing)

    async def aclose(self) -> None:
        self._open = False
        with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
            try:
                await self.broker.stop()
            except self.failures as error:
                log.info("the broker was gone before it was let go of", bus=self.name, reason=type(error).__name__)

    @abstractmethod
    async def declare(self, topic: str) -> None:
        """What `Bus.prepare` promises."""

    @abstractmethod
    async def declare_kept(self, topic: str) -> None:
        """What `Bus.keep` promises."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """Publish it. Raises: Exhausted."""

    @abstractmethod
    def workers(self, topic: str, group: str) -> list[Any]:
        """FastStream subscribers of which each message goes to one, again if it is not done with."""

    @abstractmethod
    def follower(self, topic: str) -> Any:
        """A FastStream subscriber that gets everything that is kept."""

    async def reached(self, act: Callable[[], Awaitable[None]], within_s: float = CONNECT_WITHIN_S) -> None:
        """Do something with the broker. Raises: Unavailable: it cannot be reached in time, or refuses; GatewayError."""
        try:
            with anyio.fail_after(within_s):
                await act()
        except GatewayError:
            raise
        except self.failures as error:
            log.info("broker failed", bus=self.name, reason=str(error))
            raise Unavailable(f"the {self.name} broker cannot be reached", retry_after_s=1.0) from error

    def headers_of(self, message: Message) -> dict[str, str]:
        """A message's headers as they travel."""
        headers = dict(message.headers)
        if message.traceparent:
            headers[TRACEPARENT] = message.traceparent
        if message.reply_to:
            headers[REPLY_TO] = message.reply_to
        if message.correlation_id:
            headers[ID] = message.id
        return headers

    @abstractmethod
    def place_of(self, came: Any) -> str:
        """What tells a message without an id from every other of its topic: the same each time it is handed out."""

    async def start(self) -> None:
        """Connect."""
        await self.broker.start()

    async def _subscribed(self, subscribers: list[Any], topic: str, handler: Handler) -> None:
        """Keep subscribers at work until canceled."""

        at_work = set[anyio.CancelScope]()

        async def on_message(came: Annotated[Any, Context("message")]) -> None:
            with anyio.CancelScope() as scope:
                at_work.add(scope)
                try:
                    with anyio.fail_after(self.limits.lease_s):
                        await handler(self._message_of(topic, came))
                finally:
                    at_work.discard(scope)
            if scope.cancelled_caught:
                raise Unavailable("nobody is at work here any longer: it is for others")

        for subscriber in subscribers:
            subscriber(on_message)
        try:
            for subscriber in subscribers:
                await self.reached(subscriber.start, JOIN_WITHIN_S)
            while all(subscriber.running for subscriber in subscribers):  # noqa: ASYNC110 - FastStream tells nobody
                await anyio.sleep(LOOK_AFTER_S)
            raise Unavailable(f"the {self.name} broker hands out no more of {topic}", retry_after_s=1.0)
        finally:
            # First of all: to stop is to wait for what is at work.
            for scope in tuple(at_work):
                scope.cancel()
            with anyio.CancelScope(deadline=anyio.current_time() + CLOSE_WITHIN_S, shield=True):
                for subscriber in subscribers:
                    await subscriber.stop()

    def _message_of(self, topic: str, came: Any) -> Message:
        said = cast("Mapping[str, object]", came.headers)
        headers = {str(name): str(value) for name, value in said.items()}
        correlation_id, own = headers.get(CORRELATION, ""), headers.pop(ID, "")
        raw = bytes(came.body)
        body, broken = body_from(raw, str(came.content_type or ""))
        return Message(
            id=own or correlation_id or self.place_of(came),
            topic=topic,
            body=body,
            reply_to=headers.pop(REPLY_TO, ""),
            traceparent=headers.pop(TRACEPARENT, ""),
            headers=headers,
            correlation_id=correlation_id if own else "",
            raw=raw,
            broken=broken,
        )


def subscribing() -> dict[str, Any]:
    """How every subscriber is made: what a handler raises means that the message comes again."""
    return {"ack_policy": AckPolicy.NACK_ON_ERROR, "no_reply": True, "include_in_schema": False, "decoder": _undecoded}


def refuse_scheme(url: str, *schemes: str) -> str:
    """The URL. Raises: InvalidRequest: of another scheme, or without a host."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes or not rest.strip("/"):
        raise InvalidRequest(f"the address of this bus begins with {' or '.join(f'{each}://' for each in schemes)}")
    return url


async def _undecoded(came: Any) -> None:
    """In the place of FastStream's own decoder."""


def body_from(raw: bytes, content_type: str) -> tuple[Json, str]:
    """(body, why it could not be read): JSON unless it is said to be text."""
    if content_type.startswith("text/"):
        try:
            return raw.decode(), ""
        except UnicodeDecodeError:
            return None, "the body is no UTF-8"
    try:
        return cast("Json", orjson.loads(raw)), ""
    except orjson.JSONDecodeError as error:
        return None, f"the body is no JSON: {error}"
