"""What was said before in the context of a request: earlier runs of the same caller, as their words. Pure."""

import json
from collections.abc import Iterable

from gateway.core.content import Content
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import Labels, join_all, labels_from_json
from gateway.core.ports.runs import Run
from gateway.core.task import TaskState
from gateway.orchestration.events import content_from_json
from gateway.orchestration.results import MEMBER
from gateway.orchestration.spec import EarlierTurn

LOOKED_AT = 3
"""Runs that are looked at for each turn: some failed, or are under way."""
HANDED_DOWN = frozenset({"history", "glossary"})
"""What agents of a nested run are handed as those of the outer one are."""
_MORE = "…"


def earlier_turns(runs: Iterable[Run], *, most: int, most_bytes: int) -> tuple[tuple[EarlierTurn, ...], Labels]:
    """At most `most` turns of `runs`, which come newest first, the oldest first, with the labels of what they say.

    Only what was answered counts, and of a run that another one took over from only that other one. The latest turn is
    cut where it alone is more than `most_bytes`; of the others those that do not fit are left out, and all before them.
    """
    turns: list[EarlierTurn] = []
    labels: list[Labels] = []
    taken_over: set[str] = set()
    left = most_bytes
    for run in runs:
        origin = json_text(run.spec.get("origin"))
        if run.state != TaskState.COMPLETED.value or run.id in taken_over:
            continue
        taken_over.add(origin)
        turn = _turn(run, most_bytes)
        size = _size(turn)
        if len(turns) == most or size > left:
            break
        left -= size
        turns.append(turn)
        labels.append(_labels(run))
    return tuple(reversed(turns)), join_all(labels)


def handed_down(data: Json) -> tuple[Json, JsonObject]:
    """The data of a nested run without what its own agents are handed as well, and that: `history`, `glossary`."""
    given = json_object(data)
    member = json_object(given.get(MEMBER))
    handed = {name: value for name, value in member.items() if name in HANDED_DOWN}
    if not handed:
        return data, {}
    rest = {name: value for name, value in member.items() if name not in HANDED_DOWN}
    return {**given, MEMBER: rest}, handed


def _turn(run: Run, most_bytes: int) -> EarlierTurn:
    request = _words(content_from_json(run.input))
    answer = _words(content_from_json(json_object(run.output).get("content")))
    request = _cut(request, max(most_bytes // 2, most_bytes - _bytes(answer)))
    return EarlierTurn(run_id=run.id, request=request, answer=_cut(answer, most_bytes - _bytes(request)))


def _cut(text: str, most_bytes: int) -> str:
    """At most so many bytes of the text, and visibly so."""
    raw = text.encode(errors="replace")
    if len(raw) <= most_bytes:
        return text
    return f"{raw[: max(0, most_bytes - len(_MORE.encode()))].decode(errors='ignore').rstrip()}{_MORE}"


def _words(content: Content) -> str:
    value = content.value
    return content.text or (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _labels(run: Run) -> Labels:
    return labels_from_json(run.spec.get("labels")).join(labels_from_json(json_object(run.output).get("labels")))


def _size(turn: EarlierTurn) -> int:
    return _bytes(turn.request) + _bytes(turn.answer)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
