"""Memories by their names: each with its engine and its room, bounded whichever engine it is. Asks no policy."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TypeVar

import anyio
import structlog
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.core.errors import GatewayError, InvalidRequest, UpstreamFailed
from gateway.core.json import JsonObject, canonical_json, json_from
from gateway.core.labels import Labels
from gateway.core.ports.memory import Memo, Memory, MemoryPlace, MemoryType, Room
from gateway.core.ports.world import Clock

log = structlog.get_logger(__name__)

T = TypeVar("T")

BUILT_IN = "text"
"""The engine that searches by words."""
TEXT_CHARS = 8000
TAGS_AT_MOST = 20
TAG_CHARS = 64
FOUND_AT_MOST = 100
ANSWERS_WITHIN_S = 5.0
"""How long an engine has for one question."""
DAY_US = 86_400_000_000


class MemorySettings(BaseModel):
    """One memory, where it differs from what every memory is without a word."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str = BUILT_IN
    """What finds entries: `text` by their words, or a plug-in's, by vectors for example."""
    days: float = Field(default=90.0, gt=0, le=3650)
    """How long an entry is kept, days."""
    entries: int = Field(default=1000, ge=1, le=100_000)
    """How many of one tenant are kept; the oldest go."""
    bytes: int = Field(default=1_000_000, ge=65_536, le=1_000_000_000)
    """How much of one tenant is kept, bytes; the oldest go."""
    options: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """For the engine of a plug-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One memory, ready to be asked."""

    settings: MemorySettings
    engine: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who says something worth remembering, and where."""

    run_id: str
    step_id: str
    agent: str


class Memories:
    """Every memory there is; one that no section describes is as every memory is by default."""

    def __init__(self, built_in: Memory, clock: Clock, load: Callable[[str], MemoryType]) -> None:
        """`load`: the engine of a plug-in. Raises: InvalidRequest: nobody offers it."""
        self._clock = clock
        self._load = load
        self._plain = Kept(settings=MemorySettings(), engine=built_in)
        self._kept: Mapping[str, Kept] = {}
        self._named: frozenset[str] = frozenset()

    def made(self, sections: Mapping[str, MemorySettings]) -> Mapping[str, Kept]:
        """These memories with their engines; what is as it was keeps the one it has. Raises: InvalidRequest."""
        made: dict[str, Kept] = {}
        for name, settings in sections.items():
            known = self._kept.get(name)
            if settings.engine == BUILT_IN:
                made[name] = Kept(settings=settings, engine=self._plain.engine)
            elif known is not None and _same_engine(known.settings, settings):
                made[name] = Kept(settings=settings, engine=known.engine)
            else:
                engine = self._load(settings.engine)(json_from(settings.options))
                made[name] = Kept(settings=settings, engine=engine)
        return made

    def apply(self, made: Mapping[str, Kept], named: Collection[str] = ()) -> None:
        """Have these from now on; `named`: those that workflows name."""
        self._kept = made
        self._named = frozenset({*made, *named})

    async def add(self, tenant: str, name: str, text: str, tags: Sequence[str], by: Source, labels: Labels) -> Memo:
        """The entry that is kept; the same one however often the same step says the same.

        Raises: InvalidRequest: it says nothing, or too much; Unavailable, UpstreamFailed: the engine cannot keep it.
        """
        text, tags = _clean(text), [_clean(tag) for tag in tags]
        _refuse_unfit(text, tags)
        kept, now_us = self._of(name), self._clock.now_us()
        named = canonical_json([tenant, name, by.run_id, by.step_id, text, [*tags]])
        memo = Memo(
            id=f"mem_{sha256(named).hexdigest()[:26]}",
            text=text,
            at_us=now_us,
            tags=tuple(tags),
            run_id=by.run_id,
            step_id=by.step_id,
            agent=by.agent,
            labels=labels,
        )
        settings = kept.settings
        room = Room(entries=settings.entries, bytes=settings.bytes, after_us=_after_us(settings, now_us))
        await self._asked(name, lambda: kept.engine.add(MemoryPlace(tenant=tenant, name=name), memo, room))
        return memo

    async def search(self, tenant: str, name: str, query: str, *, limit: int) -> tuple[Memo, ...]:
        """Entries that have to do with the query, the best first. Raises: Unavailable, UpstreamFailed."""
        kept, place = self._of(name), MemoryPlace(tenant=tenant, name=name)
        after_us, most = _after_us(kept.settings, self._clock.now_us()), min(limit, FOUND_AT_MOST)
        found = await self._asked(name, lambda: kept.engine.search(place, _clean(query), after_us=after_us, limit=most))
        return found[:most]

    async def list(self, tenant: str, name: str, *, limit: int) -> tuple[Memo, ...]:
        """Newest first. Raises: Unavailable, UpstreamFailed."""
        kept, place = self._of(name), MemoryPlace(tenant=tenant, name=name)
        after_us = _after_us(kept.settings, self._clock.now_us())
        return await self._asked(name, lambda: kept.engine.list(place, after_us=after_us, limit=limit))

    async def forget(self, tenant: str, name: str, ids: Collection[str]) -> int:
        """How many of these entries there were. Raises: Unavailable, UpstreamFailed."""
        place = MemoryPlace(tenant=tenant, name=name)
        return await self._asked(name, lambda: self._of(name).engine.forget(place, ids))

    async def forget_runs(self, tenant: str, run_ids: Collection[str]) -> int:
        """Take away what was remembered in these runs; how many entries. Raises: Unavailable, UpstreamFailed."""
        wanted, count = frozenset(run_ids), 0
        for name in await self.names(tenant):
            place, kept = MemoryPlace(tenant=tenant, name=name), self._of(name)
            # What has lapsed is forgotten too.
            list_all = partial(kept.engine.list, place, after_us=0, limit=kept.settings.entries)
            found = [memo.id for memo in await self._asked(name, list_all) if memo.run_id in wanted]
            count += await self.forget(tenant, name, found) if found else 0
        return count

    async def forget_older(self, tenant: str, name: str, older_than_s: float) -> int:
        """How many entries were older. Raises: Unavailable, UpstreamFailed."""
        # One that was added in this very microsecond is older than nothing.
        before_us = self._clock.now_us() - int(older_than_s * 1e6) + 1
        return await self._asked(name, lambda: self._of(name).engine.lapse(name, before_us, tenant=tenant))

    async def lapse(self) -> int:
        """Take away, of all tenants, what has lapsed; how many there were. Memories that nothing names any more are
        among them: what they hold is kept as long as by default. One that cannot do it keeps no other from it.

        Raises: Unavailable, UpstreamFailed: of the first that could not.
        """
        count, now_us = 0, self._clock.now_us()
        failed: GatewayError | None = None
        for engine_name, engine in self._engines:
            try:
                names = {*await self._asked(engine_name, engine.names)}
                names |= {name for name in self._named if self._of(name).engine is engine}
                for name in sorted(names):
                    before_us = _after_us(self._of(name).settings, now_us)
                    count += await self._asked(name, lambda e=engine, n=name, at=before_us: e.lapse(n, at))
            except GatewayError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return count

    async def names(self, tenant: str) -> Mapping[str, int]:
        """How many entries each memory of the tenant has. Raises: Unavailable, UpstreamFailed."""
        counts = dict.fromkeys(sorted(self._named), 0)
        for name, engine in self._engines:
            counts |= await self._asked(name, lambda engine=engine: engine.names(tenant))
        return counts

    @property
    def _engines(self) -> Collection[tuple[str, Memory]]:
        """Each once, with the name of a memory that it keeps."""
        engines = {id(kept.engine): (name, kept.engine) for name, kept in self._kept.items()}
        engines[id(self._plain.engine)] = (BUILT_IN, self._plain.engine)
        return engines.values()

    def _of(self, name: str) -> Kept:
        return self._kept.get(name, self._plain)

    async def _asked(self, name: str, question: Callable[[], Awaitable[T]]) -> T:
        try:
            with anyio.fail_after(ANSWERS_WITHIN_S):
                return await question()
        except GatewayError:
            raise
        except TimeoutError as error:
            raise UpstreamFailed(f"the memory {name} did not answer in time") from error
        except Exception as error:
            # An engine may be anybody's; whoever asked learns which memory it was, the log what happened.
            log.exception("the engine of a memory failed", memory=name)
            raise UpstreamFailed(f"the memory {name} failed; the gateway's log has the rest") from error


def memo_to_json(memo: Memo) -> JsonObject:
    """An entry as agents are shown it."""
    shown: JsonObject = {"id": memo.id, "text": memo.text}
    if memo.tags:
        shown["tags"] = [*memo.tags]
    if memo.agent:
        shown["by"] = memo.agent
    return shown


def _same_engine(before: MemorySettings, after: MemorySettings) -> bool:
    return (before.engine, before.options) == (after.engine, after.options)


def _after_us(settings: MemorySettings, now_us: int) -> int:
    return now_us - int(settings.days * DAY_US)


def _clean(text: str) -> str:
    """Without halves of characters, which no storage takes."""
    return text.encode(errors="replace").decode()


def _refuse_unfit(text: str, tags: Sequence[str]) -> None:
    if not text.strip() or len(text) > TEXT_CHARS:
        raise InvalidRequest(f"`text` has 1 to {TEXT_CHARS} characters")
    if len(tags) > TAGS_AT_MOST or not all(0 < len(tag) <= TAG_CHARS for tag in tags):
        raise InvalidRequest(f"`tags` are at most {TAGS_AT_MOST} texts of 1 to {TAG_CHARS} characters")
