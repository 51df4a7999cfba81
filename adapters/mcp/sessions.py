"""Legacy MCP sessions: what `initialize` agreed on, for whom, and the calls under way. Knows no transport."""

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from adapters.mcp.tapes import Shelf, Tape, Tapes
from adapters.mcp.wire import HANDSHAKE, LATEST_HANDSHAKE
from gateway.core.json import JsonObject
from gateway.core.model import Principal
from gateway.core.ports.world import Clock

MOST_SAID = 64
"""Messages of no call that wait for a client to listen; then the oldest are lost."""

Owner = tuple[str, ...]
"""Tenant and actor chain of a principal; a session answers nobody else."""


@dataclass(slots=True, kw_only=True)
class Question:
    """A request to the client, until it is answered."""

    id: str
    method: str
    result: bytes = b""
    """Raw JSON; empty where the answer is an error, and before there is one."""
    error: bytes = b""
    answered: anyio.Event = field(default_factory=anyio.Event)


class Cancelable(Protocol):
    """A call under way."""

    def cancel(self) -> None: ...


class Ear:
    """By which a session's client is told what belongs to no call of its own. See `Client`."""

    __slots__ = ("__weakref__", "_said", "stirred")

    def __init__(self) -> None:
        self._said: deque[bytes] = deque(maxlen=MOST_SAID)
        self.stirred = anyio.Event()
        """Set, and replaced, when something is said."""

    def say(self, message: bytes) -> None:
        self._said.append(message)
        woken, self.stirred = self.stirred, anyio.Event()
        woken.set()

    def take(self) -> list[bytes]:
        """What was said and not told yet."""
        said = [*self._said]
        self._said.clear()
        return said


class Session:
    """One legacy client's session."""

    __slots__ = (
        "_last_question",
        "calls",
        "capabilities",
        "ear",
        "end_stream",
        "id",
        "log_level",
        "owner",
        "questions",
        "roots",
        "shelf",
        "stirred",
        "streamed",
        "tape",
        "told",
        "used_at_s",
        "version",
        "watched",
    )

    def __init__(
        self, session_id: str, owner: Owner, version: str, capabilities: JsonObject, now_s: float, shelf: Shelf | None
    ) -> None:
        self.id = session_id
        self.ear = Ear()
        self.shelf = shelf
        """What its streams have said; None where its version does not take them up again."""
        self.tape: Tape | None = None
        """Of its GET stream, once there was one."""
        self.told: dict[str, tuple[bytes, ...]] = {}
        """How the lists were when its client could last know of them; see `Subscription.told`."""
        self.streamed = False
        """Whether it has had a GET stream."""
        self.owner = owner
        self.version = version
        self.capabilities = capabilities
        """As the client declared them in `initialize`."""
        self.log_level = ""
        """The lowest the client wants; empty where it did not say, and whatever there is may be sent."""
        self.roots = object()
        """See `SaidBefore.roots`."""
        self.used_at_s = now_s
        self.calls: dict[bytes, Cancelable] = {}
        """Under way, by raw request id."""
        self.questions: dict[str, Question] = {}
        """To the client, not answered yet, by id."""
        self._last_question = 0
        self.watched: set[str] = set()
        """Resources the client subscribed to, by their URIs."""
        self.stirred = anyio.Event()
        """Set, and replaced, when `watched` changes."""
        self.end_stream: Callable[[], None] | None = None
        """Ends the open GET stream, where there is one."""

    def watch(self, uri: str, *, wanted: bool) -> None:
        """Take a subscription to a resource up, or let it go."""
        (self.watched.add if wanted else self.watched.discard)(uri)
        woken, self.stirred = self.stirred, anyio.Event()
        woken.set()

    def begin_stream(self) -> None:
        """A new GET stream; nobody reads on in the one before it, and what that told is known."""
        if self.shelf is not None:
            if self.tape is not None:
                self.tape.end()
            self.tape = self.shelf.open()

    def ask(self, method: str) -> Question:
        """A new question to the client; whoever asks sends it, and takes it away again."""
        self._last_question += 1
        question = Question(id=f"drawbridge-{self._last_question}", method=method)
        self.questions[question.id] = question
        return question

    def answer(self, question_id: str, result: bytes, error: bytes) -> None:
        """The client answered; what nobody asked is dropped."""
        question = self.questions.get(question_id)
        if question is not None and not question.answered.is_set():
            question.result, question.error = result, error
            question.answered.set()


class Sessions:
    """All legacy sessions. Where there is no more room, whoever has most loses the one unused longest."""

    def __init__(self, *, clock: Clock, limit: int, idle_s: float, tapes: Tapes) -> None:
        self._tapes = tapes
        self._clock = clock
        self._limit = limit
        self._idle_s = idle_s
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._owned: dict[Owner, OrderedDict[str, None]] = {}
        """The same, by owner."""

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, principal: Principal, version: str, capabilities: JsonObject) -> Session:
        """A new session of the principal's; makes room for it if need be."""
        now_s = self._clock.monotonic_s()
        self._expire(now_s)
        while len(self._sessions) >= self._limit:
            self._end(next(iter(max(self._owned.values(), key=len))))
        shelf = self._tapes.shelf_for(version)
        session = Session(secrets.token_urlsafe(24), owner_of(principal), version, capabilities, now_s, shelf)
        self._sessions[session.id] = session
        self._owned.setdefault(session.owner, OrderedDict())[session.id] = None
        return session

    def find(self, session_id: str, principal: Principal) -> Session | None:
        """The principal's session with this id. Somebody else's is as unknown as none at all."""
        session = self._sessions.get(session_id)
        if session is None:
            return None
        now_s = self._clock.monotonic_s()
        if now_s - session.used_at_s > self._idle_s and not _busy(session):
            self._end(session_id)
            return None
        if session.owner != owner_of(principal):
            return None
        session.used_at_s = now_s
        self._sessions.move_to_end(session_id)
        self._owned[session.owner].move_to_end(session_id)
        return session

    def close(self, session: Session) -> None:
        """End a session, its calls and its stream."""
        self._end(session.id)

    def _expire(self, now_s: float) -> None:
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now_s - oldest.used_at_s <= self._idle_s:
                return
            if _busy(oldest):
                oldest.used_at_s = now_s
                self._sessions.move_to_end(oldest.id)
            else:
                self._end(oldest.id)

    def _end(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        owned = self._owned[session.owner]
        del owned[session_id]
        if not owned:
            del self._owned[session.owner]
        for call in tuple(session.calls.values()):
            call.cancel()
        if session.end_stream is not None:
            session.end_stream()
        if session.shelf is not None:
            session.shelf.close()


def owner_of(principal: Principal) -> Owner:
    return (principal.tenant, *principal.chain)


def negotiated(requested: str) -> str:
    """The version a legacy client gets: the one it asked for, else the newest of its era."""
    return requested if requested in HANDSHAKE else LATEST_HANDSHAKE


def _busy(session: Session) -> bool:
    return bool(session.calls) or session.end_stream is not None
