"""Who takes over what whoever fills a role failed at. Pure."""

from dataclasses import replace

from gateway.core.ports.orchestration import Node, StepError, StepResult

TAKEN_OVER: frozenset[StepError] = frozenset({"failed", "timeout", "unavailable"})
"""Failures at which another is asked; who broke a contract is told so first, by whoever asked."""


def taken_over(node: Node, failed: StepResult) -> Node | None:
    """The same for whoever stands in, as another attempt at it; None where nobody does or it would not help."""
    if failed.ok or not node.instead or failed.error not in TAKEN_OVER:
        return None
    other = replace(node, target=node.instead, instead="", again=failed.id)
    if node.instead.startswith("tool:"):
        return other
    # Why it failed is in words of whoever failed, so it comes with their labels; a tool is told nothing.
    note = f"{node.note}\nWhoever was asked before you failed: {failed.because}.".strip()
    return replace(other, note=note, labels=node.labels.join(failed.labels))
