"""What was said before in the context of a request: earlier runs of the same caller, as their words. Pure."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from gateway.core.content import Content, content_from_json
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels, join_all, labels_from_json
from gateway.core.ports.runs import Run
from gateway.core.task import TaskState
from gateway.orchestration.records.results import MEMBER
from gateway.orchestration.records.spec import EarlierTurn

LOOKED_AT = 3
"""Runs that are looked at for each turn: some failed, or are under way."""
RECAP_BYTES = 16_384
"""Of turns that are left out, how much is kept for whoever sums them up."""
HANDED_DOWN = frozenset({"history", "glossary", "recap", "left_out"})
"""What agents of a nested run are handed as those of the outer one are."""
_MORE = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was said before a request, oldest first."""

    turns: tuple[EarlierTurn, ...] = ()
    labels: Labels = CLEAN
    """Of what the turns say."""
    left_out: int = 0
    """Turns before them that were left out."""
    older: tuple[EarlierTurn, ...] = ()
    """The latest of those, as many as somebody is to sum up."""
    older_labels: Labels = CLEAN
    untold: int = 0
    """Turns that were left out and that nobody sums up: there was no room for them there either."""

    def left_out_words(self, least: str = "") -> tuple[str, ...]:
        """What was left out, in words. `least`: put before the number of turns."""
        found: list[str] = []
        if self.left_out:
            beside = f", {self.untold} of them also of what they came to" if self.untold else ""
            found.append(f"{least}{self.left_out} of the earlier turns{beside}")
        cut = [each for each in (*self.older, *self.turns) if each.cut_bytes]
        return (*found, *(f"{each.cut_bytes} bytes of the earlier turn {each.run_id}" for each in cut))


def earlier_turns(
    runs: Iterable[Run],
    *,
    most: int,
    most_bytes: int,
    older_bytes: int = 0,
    summed_up: Callable[[Run], bool] = lambda _: False,
) -> Before:
    """At most `most` turns of `runs`, which come newest first, and how many there were before them.

    Only what was answered counts, and of a run that another one took over from only that other one. The latest turn is
    cut where it alone is more than `most_bytes`; of the others those that do not fit are left out, and all before them.
    Of these `older_bytes` are kept in the same way, as far as they are not `summed_up`, and all before them, already.
    """
    answered = [*_answered(runs)]
    kept = _that_fit(answered[:most], most_bytes)
    rest = answered[len(kept) :]
    new = [*takewhile(lambda run: not summed_up(run), rest)]
    older = _that_fit(new, older_bytes) if older_bytes else []
    return Before(
        turns=tuple(_turn(run, most_bytes) for run in reversed(kept)),
        labels=join_all(map(labels_of, kept)),
        left_out=len(rest),
        older=tuple(_turn(run, older_bytes) for run in reversed(older)),
        older_labels=join_all(map(labels_of, older)),
        untold=len(new) - len(older) if older_bytes else 0,
    )


def latest_answered(runs: Iterable[Run]) -> Run | None:
    """The newest of `runs`, which come newest first, that was answered."""
    return next(_answered(runs), None)


def _answered(runs: Iterable[Run]) -> Iterator[Run]:
    taken_over: set[str] = set()
    for run in runs:
        if run.state == TaskState.COMPLETED.value and run.id not in taken_over:
            taken_over.add(json_text(run.spec.get("origin")))
            yield run


def _that_fit(runs: Iterable[Run], most_bytes: int) -> list[Run]:
    """The first of the runs, as many as have room in so many bytes."""
    found: list[Run] = []
    left = most_bytes
    for run in runs:
        left -= _size(_turn(run, most_bytes))
        if left < 0:
            break
        found.append(run)
    return found


def handed_down(data: Json) -> tuple[Json, JsonObject]:
    """The data of a nested run without what its own agents are handed as well, and that; see `HANDED_DOWN`."""
    given = json_object(data)
    member = json_object(given.get(MEMBER))
    handed = {name: value for name, value in member.items() if name in HANDED_DOWN}
    if not handed:
        return data, {}
    rest = {name: value for name, value in member.items() if name not in HANDED_DOWN}
    return {**given, MEMBER: rest}, handed


def _turn(run: Run, most_bytes: int) -> EarlierTurn:
    whole = whole_turn(run)
    request = _cut(whole.request, max(most_bytes // 2, most_bytes - _bytes(whole.answer)))
    answer = _cut(whole.answer, most_bytes - _bytes(request))
    kept = sum(_bytes(each.removesuffix(_MORE)) for each in (request, answer))
    return replace(
        whole, request=request, answer=answer, cut_bytes=_size(whole) - kept if _size(whole) > most_bytes else 0
    )


def whole_turn(run: Run) -> EarlierTurn:
    """What a run was asked and answered, all of it."""
    answer = content_from_json(json_object(run.output).get("content"))
    return EarlierTurn(run_id=run.id, request=_words(content_from_json(run.input)), answer=_words(answer))


def _cut(text: str, most_bytes: int) -> str:
    """At most so many bytes of the text, and visibly so."""
    raw = text.encode(errors="replace")
    if len(raw) <= most_bytes:
        return text
    return f"{raw[: max(0, most_bytes - len(_MORE.encode()))].decode(errors='ignore').rstrip()}{_MORE}"


def _words(content: Content) -> str:
    value = content.value
    return content.text or (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def labels_of(run: Run) -> Labels:
    """What stands on the words of a turn."""
    return labels_from_json(run.spec.get("labels")).join(labels_from_json(json_object(run.output).get("labels")))


def _size(turn: EarlierTurn) -> int:
    return _bytes(turn.request) + _bytes(turn.answer)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
