"""What a step was handed beside its own input: named, never copied. Pure."""

from collections.abc import Collection

from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import StepResult
from gateway.orchestration.records.orders import Order
from gateway.orchestration.records.spec import RunSpec

NAMED_AT_MOST = 20
_TOLD = frozenset({"request", "data", "results", "scratchpad"})
"""What a tool is told that fills a role."""


def handed(
    spec: RunSpec, order: Order, result: StepResult, arguments: Collection[str] | None, recap: str
) -> JsonObject:
    """`request` (which of its `text` and `data`), `results` by the names of their steps, `scratchpad` by keys, `beside`
    (what there was of `history`, `recap`, `note`, `memory`); what there was nothing of is left out. Empty of a step
    that was not begun. `arguments` and `recap` as for `messages.said_to`.
    """
    node = order.node
    if result.attempts < order.first_attempt or (order.kind == "tool" and not node.tells):
        return {}
    message, data = spec.message, spec.data if node.whole else None
    if node.task is not None:
        message, data = node.task.message, node.task.data
    results = [*order.results]
    keys = [key for key, version in result.reads.items() if version]
    if order.kind == "tool":
        takes = _TOLD if arguments is None else _TOLD.intersection(arguments)
        message, data = message if "request" in takes else "", data if "data" in takes else None
        results, keys = results if "results" in takes else [], keys if "scratchpad" in takes else []
        beside: list[Json] = []
    else:
        there = {"history": spec.history, "recap": recap, "note": node.note, "memory": result.recalled}
        beside = [name for name, each in there.items() if each]
    request: list[Json] = [name for name, each in (("text", message), ("data", data)) if each]
    shown: JsonObject = {"request": request, "results": _few(results), "scratchpad": _few(keys), "beside": beside}
    return {name: each for name, each in shown.items() if each}


def _few(names: list[str]) -> list[Json]:
    more = len(names) - NAMED_AT_MOST
    return [*names] if more <= 0 else [*names[:NAMED_AT_MOST], f"{more} more"]
