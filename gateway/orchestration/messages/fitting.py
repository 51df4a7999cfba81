"""Makes what a step says fit whoever reads it: references for what is large, summaries for what exceeds a window.

The order in which things go: what the memory had, the least fitting first; earlier turns, the oldest first, and what
those before them came to; results, the longest first, down to their summaries; what was read on the scratchpad; the
task's data; the task's words; the step's own input, fields its contract names last; the glossary. Never the
instruction. Whatever is left out is said, in the message and to whoever watches the run.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from gateway.core.errors import Exhausted
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.limits import WARN_SHARE
from gateway.core.ports.costs import TokenCounter
from gateway.orchestration.messages.said import Said
from gateway.orchestration.records.results import SUMMARY_CHARS, cut

REFERENCE_BYTES = 64 * 1024
"""Values beyond this are handed over as a reference, whatever the step says, to agents that can fetch the rest."""
FETCH = "tool run/fetch_result"
"""How an agent at work on a step gets what a reference stands for."""
_CUT_TO_AT_LEAST = 16
"""Tokens a text keeps that is cut: fewer tell nothing."""
_SAYING_SO = 24
"""Tokens of the sentence that says what was left out, at most."""

Summarise = Callable[[str, Json], Awaitable[str]]
"""(name of the result, its value) -> a short account of it; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What is known of an agent as a reader of messages."""

    context_tokens: int | None = None
    """How many tokens a message may have; None for as many as there are."""
    fetches: bool = False
    """It is handed a token, with which it can fetch what a reference stands for."""


@dataclass(slots=True, kw_only=True)
class Fitted:
    """What is said in the end."""

    said: Said
    tokens: int = 0
    """Of the message as it would have been; 0 where nobody had to count."""
    left_out: list[str] = field(default_factory=list[str])
    """What was left out, one sentence each."""

    def warning(self, name: str, window: int | None) -> str:
        """What to tell whoever watches the run; empty for nothing."""
        if window is None or self.tokens < window * WARN_SHARE:
            return ""
        share = self.tokens * 100 // window
        told = f"{name}: what it is told is {share} % of its window of {window} tokens"
        return f"{told}; left out: {'; '.join(self.left_out)}" if self.left_out else told


def with_references(said: Said, most_bytes: int, *, fetch: str = FETCH) -> Said:
    """Results of more than `most_bytes` as references: their summary, their size, their fields, and how to fetch them.
    `fetch`: with what; empty where it cannot be done."""
    results = json_object(said.member.get("results"))
    large = {name: size for name, value in results.items() if (size := _size(_value(value))) > most_bytes}
    if not large:
        return said
    changed: JsonObject = {
        name: _reference(name, json_object(results[name]), size, fetch) for name, size in large.items()
    }
    return _with_member(said, results={**results, **changed})


async def fitted(
    said: Said, window: int, counter: TokenCounter, *, contract: frozenset[str] = frozenset(), summarise: Summarise
) -> Fitted:
    """`said` with at most `window` tokens. `contract`: names of the input's fields that go last.

    Raises: Exhausted: the instruction alone, and what cannot be left out, is more.
    """
    texts = said.texts()
    # A token has at least one byte, so what is short need not be counted.
    if sum(len(text.encode(errors="replace")) for text in texts) < window * WARN_SHARE:
        return Fitted(said=said)
    before = tuple(json_list(said.member.get("left_out")))
    fitting = _Fitting(said=said, window=window, counter=counter, summarise=summarise, before=before)
    tokens = fitting.tokens = await counter.count(texts)
    if tokens > window:
        await fitting.entries("memory", -1, "what the memory had")
        await fitting.entries("history", 0, "earlier turns")
        await fitting.recap()
        await fitting.results()
        await fitting.scratchpad()
        await fitting.task()
        await fitting.input(contract)
        await fitting.glossary()
    if fitting.tokens > window:
        raise Exhausted(
            f"what it is told to do is {fitting.tokens} tokens alone, and its window is {window}",
            detail={"limit": "budget", "tokens": fitting.tokens, "window": window},
        )
    return Fitted(said=fitting.said, tokens=tokens, left_out=fitting.left_out)


@dataclass(slots=True, kw_only=True)
class _Fitting:
    """One message on its way into a window."""

    said: Said
    window: int
    counter: TokenCounter
    summarise: Summarise
    tokens: int = 0
    before: tuple[Json, ...] = ()
    """What had been left out before, as the message says."""
    left_out: list[str] = field(default_factory=list[str])

    async def entries(self, member: str, first: int, what: str) -> None:
        """Entries of a list, one by one, beginning with the one at `first`."""
        left = [*json_list(self.said.member.get(member))]
        while self.tokens > self.window and left:
            del left[first]
            if self.left_out[-1:] == [what]:
                self.left_out.pop()
            await self._now(_with_member(self.said, **{member: [*left]}), what)

    async def recap(self) -> None:
        if self.tokens > self.window and self.said.member.get("recap"):
            await self._now(_with_member(self.said, recap=""), "what turns before them came to")

    async def glossary(self) -> None:
        if self.tokens > self.window and self.said.member.get("glossary"):
            await self._now(_with_member(self.said, glossary={}), "the glossary")

    async def results(self) -> None:
        """Down to their summaries, and if that is not enough the summaries cut as well."""
        for name in await self._longest(json_object(self.said.member.get("results")), _value):
            if self.tokens <= self.window:
                return
            entry = self._entry("results", name)
            summary = await self.summarise(name, _value(entry)) or json_text(entry.get("summary"))
            shorter: JsonObject = {**entry, "summary": summary, "value": None, "leftOut": True}
            await self._put("results", name, shorter, f"all of {name} but its summary")
        for name in await self._longest(json_object(self.said.member.get("results")), _summary):
            if self.tokens <= self.window:
                return
            entry = self._entry("results", name)
            cut = await self._cut(json_text(entry.get("summary")))
            await self._put("results", name, {**entry, "summary": cut}, f"the end of the summary of {name}")

    async def scratchpad(self) -> None:
        for key in await self._longest(json_object(self.said.member.get("scratchpad")), _value):
            if self.tokens <= self.window:
                return
            entry: JsonObject = {**self._entry("scratchpad", key), "value": None, "leftOut": True}
            await self._put("scratchpad", key, entry, f"{key} of the scratchpad")

    async def task(self) -> None:
        """The data of the original task, then its words, which are there beside the instruction."""
        if self.tokens > self.window and self.said.member.get("data") is not None:
            await self._now(_with_member(self.said, data=None), "the data of the original task")
        words = json_text(self.said.member.get("task"))
        if self.tokens > self.window and words:
            await self._now(_with_member(self.said, task=await self._cut(words)), "the end of the original task")

    async def input(self, contract: frozenset[str]) -> None:
        given = {name: value for name, value in self.said.given.items() if name != "instruction"}
        for late in (False, True):
            named: JsonObject = {name: value for name, value in given.items() if (name in contract) is late}
            for name in await self._longest(named, lambda value: value):
                value = self.said.given[name]
                if self.tokens <= self.window:
                    return
                # A field its contract names keeps its kind: only texts can be shortened.
                if isinstance(value, str):
                    await self._give(name, await self._cut(value), f"the end of {name}")
                elif not late:
                    await self._give(name, None, name)

    async def _give(self, name: str, value: Json, what: str) -> None:
        await self._now(replace(self.said, given={**self.said.given, name: value}), what)

    async def _put(self, member: str, name: str, entry: JsonObject, what: str) -> None:
        changed: JsonObject = {**json_object(self.said.member.get(member)), name: entry}
        await self._now(_with_member(self.said, **{member: changed}), what)

    async def _now(self, said: Said, what: str) -> None:
        self.left_out.append(what)
        self.said = _with_member(said, left_out=[*self.before, *self.left_out])
        self.tokens = await self.counter.count(self.said.texts())

    async def _cut(self, text: str) -> str:
        length = await self.counter.count([text])
        excess = self.tokens - self.window + _SAYING_SO
        return await self.counter.cut(text, max(_CUT_TO_AT_LEAST, length - excess))

    def _entry(self, member: str, name: str) -> JsonObject:
        return json_object(json_object(self.said.member.get(member)).get(name))

    async def _longest(self, entries: JsonObject, part: Callable[[Json], Json]) -> list[str]:
        """Names of what has something to leave out: the longest first, of equals the oldest."""
        parts = {name: part(entry) for name, entry in entries.items()}
        lengths = {name: await self.counter.count([_text(each)]) for name, each in parts.items() if each}
        return sorted(lengths, key=lambda name: -lengths[name])


def _with_member(said: Said, **changed: Json) -> Said:
    return replace(said, member={**said.member, **changed})


def _reference(name: str, entry: JsonObject, size: int, fetch: str) -> JsonObject:
    value = entry.get("value")
    reference: JsonObject = {"step": name, "bytes": size, **({"fetch": fetch} if fetch else {})}
    if isinstance(value, dict):
        reference["fields"] = [*list(value)[:100]]
    elif isinstance(value, list):
        reference["items"] = len(value)
    # Who gave no account of it has at least its beginning handed on.
    summary = json_text(entry.get("summary")) or cut(_text(value), SUMMARY_CHARS)
    return {**entry, "summary": summary, "value": None, "reference": reference}


def _value(entry: Json) -> Json:
    return json_object(entry).get("value")


def _summary(entry: Json) -> Json:
    return json_object(entry).get("summary")


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _size(value: Json) -> int:
    return len(_text(value).encode(errors="replace"))
