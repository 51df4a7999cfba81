"""How contracts look: who kept theirs and who did not, and what a change breaks."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.render import table
from gateway.cli.words import clean
from gateway.testing.contracts.breaks import Break
from gateway.testing.contracts.report import ConsumerReport
from gateway.testing.scenarios.matching import shown

MOST_SHOWN = 5


def breaks_view(found: Sequence[Break]) -> RenderableType:
    """One line a consumer."""
    rows = [(each.workflow, each.consumer, each.field, each.problem, each.at) for each in found]
    return table(("WORKFLOW", "CONSUMER", "RELIES ON", "WHICH", "AT"), rows, empty="No consumer is broken.")


def contracts_view(
    reports: Sequence[ConsumerReport], mismatches: Sequence[Break], unknown: Sequence[str] = ()
) -> RenderableType:
    """The table of consumers, then what was wrong, and what could not be tested for want of a contract."""
    rows = [
        (
            Text("ok", style="green") if each.kept else Text("broken", style="red"),
            each.workflow,
            each.consumer,
            each.target,
            f"{each.asked - len(each.broken)} of {each.asked}",
        )
        for each in reports
    ]
    parts: list[RenderableType] = [table(("", "WORKFLOW", "CONSUMER", "ASKS", "KEPT"), rows, empty="")]
    for each in reports:
        if each.problem:
            parts.append(Text(f"{clean(each.consumer)}: {clean(each.problem)}", style="red"))
        for case in each.broken[:MOST_SHOWN]:
            parts.append(Text(f"{clean(each.consumer)} given {clean(shown(case.input))}: {clean(case.problem)}"))
    for each in unknown:
        said = f"{clean(each)} was not tested: nothing is known of what it takes or gives."
        way = "Give its stage a contract, its mock the schemas, or ask its server with --real."
        parts.append(Text(f"{said} {way}", style="yellow"))
    if mismatches:
        parts += [Text(""), breaks_view(mismatches)]
    return Group(*parts)
