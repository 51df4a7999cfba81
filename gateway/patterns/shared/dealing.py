"""Who of several workers is given what: all the same, a list dealt out among them, or a part for each by name. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.pointers import NothingThere, at_pointer, is_pointer, steps_in
from gateway.core.task import Task
from gateway.patterns.shared.settings import slug_of, workers_in

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
_NAME_CHARS = 40
SHARES_AT_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker is asked once."""

    name: str
    """Of the step, and of whoever says what comes of it."""
    target: str
    input: Json

    @property
    def worker(self) -> str:
        return slug_of(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealing:
    """How a task is shared out."""

    workers: tuple[str, ...]
    """Capability names."""
    slices: str = ""
    """JSON Pointer (RFC 6901) to a list in the task's data; empty where all are given the same."""
    each: bool = False
    """A share for each entry, in place of one for each worker."""
    parts: tuple[tuple[str, str], ...] = ()
    """Worker and the pointer to what it is given, each with a part of its own."""

    @property
    def compared(self) -> bool:
        """Whether all speak of the same, so that saying something else is a contradiction."""
        return not self.slices

    @property
    def least(self) -> int:
        """Shares there are at least."""
        return 1 if self.slices else len(self.workers)


def dealing_in(settings: JsonObject) -> Dealing:
    """How `concurrent` settings share a task out. Raises: InvalidRequest: they contradict each other."""
    block = json_object(settings.get("concurrent"))
    workers = workers_in(settings)
    slices, deal = json_text(block.get("slices")), json_text(block.get("deal"))
    parts = {name: json_text(pointer) for name, pointer in json_object(block.get("parts")).items()}
    if not workers:
        raise InvalidRequest("there is nobody to give work to: name agents, tools or workflows")
    if len(set(workers)) != len(workers):
        raise InvalidRequest("a worker is named twice")
    if slices and parts:
        raise InvalidRequest("give either slices or parts, not both", detail={"setting": "concurrent"})
    if deal and not slices:
        raise InvalidRequest("deal says how slices are dealt, and there are none", detail={"setting": "concurrent"})
    by_slug = {slug_of(worker): worker for worker in workers}
    if parts and parts.keys() != by_slug.keys():
        odd = ", ".join(sorted(parts.keys() ^ by_slug.keys()))
        raise InvalidRequest(f"parts has to name each worker, and nobody else: look at {odd}")
    for pointer in (slices, *parts.values()):
        _check_pointer(pointer)
    return Dealing(
        workers=workers,
        slices=slices,
        each=deal == "each",
        parts=tuple((by_slug[name], pointer) for name, pointer in parts.items()),
    )


def shares_of(task: Task, dealing: Dealing) -> list[Share]:
    """Every share, in the order of the settings. Raises: InvalidRequest: the task's data lack what is to be shared."""
    data = None if task.message is None else task.message.structured
    if dealing.slices:
        return _dealt(_list_at(data, dealing.slices), dealing)
    names = names_for(dealing.workers)
    if dealing.parts:
        pointers = dict(dealing.parts)
        return [Share(name=names[each], target=each, input=_found(data, pointers[each])) for each in dealing.workers]
    return [Share(name=names[each], target=each, input=json_object(data)) for each in dealing.workers]


def names_for(targets: Iterable[str]) -> dict[str, str]:
    """A name for each capability, the short one where no other has it."""
    names: dict[str, str] = {}
    for target in targets:
        short = _NO_NAME.sub("-", slug_of(target).rpartition("/")[2])[: _NAME_CHARS - 4]
        taken = set(names.values())
        numbered = (f"{short}-{number}" for number in range(2, len(taken) + 3))
        names[target] = short if short and short not in taken else next(each for each in numbered if each not in taken)
    return names


def _dealt(entries: list[Json], dealing: Dealing) -> list[Share]:
    names = names_for(dealing.workers)
    workers, many = dealing.workers, len(dealing.workers)
    if dealing.each:
        if len(entries) > SHARES_AT_MOST:
            raise InvalidRequest(f"{dealing.slices} has {len(entries)} entries, and at most {SHARES_AT_MOST} are dealt")
        return [
            Share(
                name=f"{names[workers[n % many]]}-{n + 1}"[-_NAME_CHARS:],
                target=workers[n % many],
                input=entry,
            )
            for n, entry in enumerate(entries)
        ]
    field = steps_in(dealing.slices)[-1]
    found: list[Share] = []
    for n, worker in enumerate(workers):
        part = entries[n * len(entries) // many : (n + 1) * len(entries) // many]
        if part:
            found.append(Share(name=names[worker], target=worker, input={field: part}))
    return found


def _check_pointer(pointer: str) -> None:
    if not is_pointer(pointer):
        raise InvalidRequest(f"{pointer!r} is no JSON Pointer: write `/orders`, `/customer/orders`")


def _list_at(data: Json, pointer: str) -> list[Json]:
    found = _found(data, pointer)
    if not isinstance(found, list) or not found:
        raise InvalidRequest(f"the task's data have no list with entries at {pointer}")
    return found


def _found(data: Json, pointer: str) -> Json:
    try:
        found = at_pointer(data, pointer)
    except NothingThere:
        found = None
    if found is None:
        raise InvalidRequest(f"the task's data have nothing at {pointer}")
    return found
