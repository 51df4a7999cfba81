"""The door messages come in by: each becomes one run, and is done with once the run is durably there.

A message that can start no run, now or later, is a dead letter; one that cannot at the moment (too many runs, no
storage) is tried again, and left to the broker before its lease is over.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256

import anyio
import structlog

from adapters.events.intake import Intake, dead_letter_from, key_of, refuse_unfit, request_from
from gateway.core.errors import Conflict, DeadlineExceeded, GatewayError, Internal, NotFound
from gateway.core.json import canonical_json
from gateway.core.limits import Budget, Limits
from gateway.core.model import Accepted, ignore_event
from gateway.core.ports.bus import Bus, Message
from gateway.core.ports.gateway import Gateway
from gateway.core.ports.starts import Start, StartStore
from gateway.core.ports.world import Clock, Ids
from gateway.core.record import Record

log = structlog.get_logger(__name__)

LEASE_SHARE = 0.7
"""How much of its lease a message is tried for at a time."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
LOOK_AGAIN_S = 1.0
"""How long to wait for a run of this process to end before asking about those of others."""
TRIED_AT_MOST = 10_000
"""Messages of which is remembered since when they are tried."""


class MessageDoor:
    """Belongs to the event loop."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        starts: StartStore,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        begun: Callable[[Start], None],
        ended: Callable[[], anyio.Event],
    ) -> None:
        """`begun` is told of each run; `ended` gives what is set when the next run has ended."""
        self._gateway = gateway
        self._starts = starts
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._begun = begun
        self._ended = ended
        self._tried_since: dict[tuple[str, str], float] = {}

    async def serve(self, intake: Intake, bus: Bus) -> None:
        """Take in a topic's messages, until canceled. Raises: Unavailable: the broker cannot be reached."""
        await bus.keep(intake.dead_letters)
        if intake.answers_to:
            await (bus.prepare if intake.answers_worked else bus.keep)(intake.answers_to)
        await bus.work(intake.topic, intake.group, partial(self.take, intake, bus))

    async def take(self, intake: Intake, bus: Bus, message: Message) -> None:
        """Return once its run is there, or it is a dead letter. Raises: GatewayError: it is not done with."""
        with anyio.move_on_after(intake.lease_s * LEASE_SHARE):
            return await self._tried(intake, bus, message)
        raise DeadlineExceeded(f"message {message.id} of {intake.name} could not be taken in so far: it comes again")

    async def _tried(self, intake: Intake, bus: Bus, message: Message) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._take(intake, message)
            except GatewayError as error:
                if not _passing(error) or self._gone_on_for_s(intake, message) >= intake.patience_s:
                    return await self._bury(intake, bus, message, error)
                log.info("a message is tried again", topic=intake.name, message=message.id, reason=error.message)
            else:
                return self._forget(intake, message)
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _take(self, intake: Intake, message: Message) -> None:
        refuse_unfit(intake, message)
        key, digest = key_of(message), sha256(canonical_json(message.body)).hexdigest()
        known = await self._starts.find(intake.bus, intake.topic, key)
        if known is not None and known.digest != digest:
            raise Conflict(f"another message had the id {key} before, and started run {known.run_id}")
        if known is not None:
            return
        await self._room(intake)
        budget = Budget(deadline_s=self._clock.monotonic_s() + self._limits.call_timeout_s, depth=self._limits.depth)
        request = request_from(intake, message, request_id=self._ids.new("req"), budget=budget)
        result = await self._gateway.call(request, ignore_event)
        if not isinstance(result, Accepted):
            raise Internal(f"{request.capability} became no run")
        start = Start(
            run_id=result.task.id,
            tenant=intake.principal.tenant,
            workflow=intake.workflow,
            bus=intake.bus,
            topic=intake.topic,
            message_id=key,
            digest=digest,
            answers_to=intake.answers_to,
            at_us=self._clock.now_us(),
        )
        await self._starts.add(start)
        self._begun(start)

    async def _room(self, intake: Intake) -> None:
        """Return once there is room for a run more. However long that takes is no fault of the message's."""
        while True:
            ended = self._ended()
            if await self._starts.count(intake.bus, intake.topic) < intake.concurrency:
                return
            with anyio.move_on_after(LOOK_AGAIN_S):
                await ended.wait()

    async def _bury(self, intake: Intake, bus: Bus, message: Message, error: GatewayError) -> None:
        """Raises: Unavailable: the broker takes no dead letter, so the message is not done with."""
        letter = dead_letter_from(intake, message, error)
        try:
            await bus.publish(letter)
        except GatewayError:
            # It is handed out again at once by some brokers.
            await anyio.sleep(LOOK_AGAIN_S)
            raise
        self._forget(intake, message)
        log.warning("a message starts no run", topic=intake.name, message=letter.correlation_id, reason=error.message)
        record = Record(
            id=self._ids.new("rec"),
            phase="event",
            at_us=self._clock.now_us(),
            principal=intake.principal,
            tenant=intake.principal.tenant,
            operation="message.dead",
            capability=f"workflow:{intake.workflow}",
            protocol="bus",
            outcome="error",
            code=error.wire.code,
            reason=error.message,
            detail={"bus": intake.bus, "topic": intake.topic, "message": letter.correlation_id},
        )
        self._gateway.note(record)

    def _gone_on_for_s(self, intake: Intake, message: Message) -> float:
        """How long the message has been tried here."""
        now_s = self._clock.monotonic_s()
        since_s = self._tried_since.setdefault((intake.name, message.id), now_s)
        if len(self._tried_since) > TRIED_AT_MOST:
            del self._tried_since[next(iter(self._tried_since))]
        return now_s - since_s

    def _forget(self, intake: Intake, message: Message) -> None:
        self._tried_since.pop((intake.name, message.id), None)


def _passing(error: GatewayError) -> bool:
    """Whether the same message may be taken in later: what is wrong is not the message."""
    if isinstance(error, NotFound | Internal):
        return True  # its workflow is configured, so it is missing for a moment
    return error.wire.retryable
