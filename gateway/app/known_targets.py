"""What the runs of a scenario could call, by its configuration and its mocks."""

from collections.abc import Iterator

from gateway.app.ready import Ready
from gateway.app.stand_ins import tools_of
from gateway.core.json import Json
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.orchestration.step.run_server import TOOLS
from gateway.testing.contracts.readers import parts_of
from gateway.testing.scenarios.known_targets import KINDS, KnownTargets


def known_targets(ready: Ready) -> KnownTargets:
    """Everybody who is configured, named in a workflow, mocked, or called by a mock."""
    sections, mocks = ready.sections, ready.scenario.mocks
    names = {
        *(f"agent:{slug}" for slug in sections.agents),
        *(f"workflow:{slug}" for slug in sections.workflows),
        *(each.name for each in TOOLS),
        *mocks,
        *(called.call for mock in mocks.values() for reply in mock.offered for called in reply.calls),
    }
    parts: dict[str, str] = {}
    for slug, workflow in sections.workflows.items():
        names |= workflow.targets | {*_named_in_options(workflow)}
        parts |= {part.name: part.target for part in parts_of(slug, workflow) if part.target}
    shops = {*sections.servers, *sections.buses}
    unlisted = {slug for slug in shops if slug in ready.real_owners or not tools_of(slug, mocks)}
    return KnownTargets(
        names=frozenset(names),
        open_owners=frozenset(unlisted),
        owners=frozenset({*shops, *sections.agents}),
        parts=parts,
    )


def _named_in_options(workflow: WorkflowSettings) -> Iterator[str]:
    """Names a plug-in's pattern is given in its own way."""
    left: list[Json] = [dict(workflow.options)]
    while left:
        match left.pop():
            case dict() as members:
                left += [*members, *members.values()]
            case list() as several:
                left += several
            case str() as text if text.partition(":")[0] in KINDS:
                yield text
            case str() as text if "/" in text:
                yield f"tool:{text}"
            case _:
                pass
