"""Task graphs: their order, and what becomes of a node that lacks its input. Pure."""

import graphlib
import re
from collections.abc import Mapping

from gateway.core.errors import InvalidRequest
from gateway.core.ports.orchestration import Node, StepResult
from gateway.orchestration.records.orders import Order

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def is_step_name(name: str) -> bool:
    return _NODE_ID.fullmatch(name) is not None


def in_order(nodes: Mapping[str, Node]) -> list[str]:
    """Ids such that each comes after what it needs; the same order for the same nodes.

    Raises: InvalidRequest: no such order exists, or an id is none.
    """
    for name, node in nodes.items():
        if not is_step_name(name):
            raise InvalidRequest(f"{name!r} is no id of a step: letters, digits, _ and -, at most 40")
        unknown = [each for each in node.after if each not in nodes]
        if unknown:
            raise InvalidRequest(f"step {name} comes after {', '.join(unknown)}, which is not there")
    try:
        return list(graphlib.TopologicalSorter({name: node.after for name, node in nodes.items()}).static_order())
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        raise InvalidRequest(f"the steps wait for each other: {' -> '.join(circle)}") from error


def usable(result: StepResult, node: Node) -> bool:
    """Whether what comes after the node may go on."""
    return result.ok or node.optional


def skipped(order: Order, lacking: list[str]) -> StepResult:
    """The result of a step that never began."""
    return StepResult(
        id=order.id,
        target=order.node.target,
        ok=False,
        phase=order.node.phase,
        error="skipped",
        reason=f"it needed {', '.join(lacking)}",
        attempts=order.first_attempt - 1,
    )
