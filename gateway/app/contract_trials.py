"""Contract tests: every consumer asked with values that its contract takes, its answers held to what they promise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.app.contract_versions import told
from gateway.app.ready import Ready
from gateway.app.sections import Sections
from gateway.app.trial import TrialGateway, TrialWorld, trial_gateway
from gateway.app.trials import in_its_own_time
from gateway.config.problems import closest
from gateway.core.content import Body, Content, Plain, data_part, text_part
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.limits import Budget
from gateway.core.model import Request, ignore_event, principal
from gateway.core.ports.orchestration import StepResult
from gateway.orchestration.records.promised import value_promised
from gateway.orchestration.records.results import answered
from gateway.testing.contracts.breaks import ToolContract, Tools
from gateway.testing.contracts.generation import values_for
from gateway.testing.contracts.readers import Part, parts_of
from gateway.testing.contracts.report import BrokenCase, ConsumerReport
from gateway.testing.scenarios.matching import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractOrder:
    """Which consumers, and how many values each."""

    workflow: str = ""
    agent: str = ""
    values: int = 20
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """What came of asking every consumer."""

    reports: tuple[ConsumerReport, ...]
    tools: Tools
    """What is known of them in the end: whoever was asked says it himself."""
    unknown: tuple[str, ...]
    """Tools of which nobody says what they take or give, and the settings do not either."""


def run_contracts(ready: Ready, order: ContractOrder, known: Tools) -> Contracts:
    """Every consumer with a contract, asked; `known`: what is known of tools beforehand.

    Raises: InvalidRequest: there is none, or what is named is not there.
    """
    _refuse_strangers(ready.sections, order)
    found = in_its_own_time(ready, order.seed, partial(_asked, ready, order, known))
    if not found.reports:
        lacking = f": nothing is known of {', '.join(found.unknown)}" if found.unknown else ""
        raise InvalidRequest(f"no workflow has a stage, step or role with a contract that could be tested{lacking}")
    return found


def _refuse_strangers(sections: Sections, order: ContractOrder) -> None:
    """Raises: InvalidRequest."""
    asked = {
        part.target.removeprefix("agent:") for slug, each in sections.workflows.items() for part in parts_of(slug, each)
    }
    for kind, name, known in (
        ("workflow", order.workflow, {*sections.workflows}),
        ("agent", order.agent, {*sections.agents, *asked} - {""}),
    ):
        if name and name not in known:
            meant = closest(name, known)
            suggestion = f" (did you mean {meant!r}?)" if meant else ""
            raise InvalidRequest(
                f"there is no {kind} {name}{suggestion}; there are {', '.join(sorted(known)) or 'none'}"
            )


async def _asked(ready: Ready, order: ContractOrder, known: Tools, world: TrialWorld) -> Contracts:
    async with trial_gateway(world) as gateway:
        tools = {**known, **{name: each for name, each in _listed(gateway).items() if each != ToolContract()}}
        consumers = [*_consumers(ready.sections, order)]
        reports = [
            await _consumer(gateway, slug, part, tools, order)
            for slug, part in consumers
            if _contract(part, tools) != (None, None)
        ]
        unknown = [part.target for _, part in consumers if _contract(part, tools) == (None, None)]
    nobody_says = (each for each in unknown if each.startswith("tool:"))
    return Contracts(reports=tuple(reports), tools=tools, unknown=tuple(dict.fromkeys(nobody_says)))


def _listed(gateway: TrialGateway) -> Tools:
    """What servers say of their tools now."""
    found = gateway.pipeline.catalog.entries.values()
    return {
        each.capability.name: ToolContract(
            takes=told(each.capability.input_schema), gives=told(each.capability.output_schema)
        )
        for each in found
        if each.capability.kind == "tool"
    }


def _consumers(sections: Sections, order: ContractOrder) -> Iterator[tuple[str, Part]]:
    for slug, workflow in sections.workflows.items():
        for part in parts_of(slug, workflow):
            wanted = order.workflow in ("", slug) and order.agent in ("", part.target.removeprefix("agent:"))
            if wanted and part.target.startswith(("agent:", "tool:")):
                yield slug, part


def _contract(part: Part, tools: Tools) -> tuple["JsonObject | None", "JsonObject | None"]:
    """What it takes, and what it has to answer."""
    tool = tools.get(part.target, ToolContract())
    return part.takes or tool.takes, part.gives or tool.gives


async def _consumer(gateway: TrialGateway, slug: str, part: Part, tools: Tools, order: ContractOrder) -> ConsumerReport:
    takes, gives = _contract(part, tools)
    inputs: list[Json] = [{}] if takes is None else values_for(takes, order.values, order.seed)
    broken: list[BrokenCase] = []
    for number, each in enumerate(inputs):
        problem = await _problem(gateway, slug, part, each, gives, number)
        if problem:
            broken.append(BrokenCase(input=each, problem=problem))
    unmet = "" if inputs else f"nothing could be made that meets {shown(takes)}"
    return ConsumerReport(
        workflow=slug, consumer=str(part), target=part.target, asked=len(inputs), broken=tuple(broken), problem=unmet
    )


async def _problem(
    gateway: TrialGateway, slug: str, part: Part, given: Json, gives: "JsonObject | None", number: int
) -> str:
    """What is wrong with the answer to this input; empty where nothing is."""
    world = gateway.world
    role = f"workflow:{slug}"
    name = f"contract {slug} {part.name} {number}"
    request = Request(
        id=world.ids.new("req"),
        principal=principal(role, kind="workflow", roles=frozenset({role})),
        capability=part.target,
        operation="call",
        budget=Budget(deadline_s=world.clock.monotonic_s() + world.sections.limits.call_timeout_s),
        body=_body(part, json_object(given)),
        protocol="run",
        meta={"message_id": name, "context_id": name},
    )
    try:
        answer = await gateway.pipeline.call(request, ignore_event)
    except GatewayError as error:
        return error.message
    result = answered(StepResult(id=name, target=part.target, ok=False), answer)
    if not result.ok:
        return f"it answered that it failed: {result.reason}"
    return value_promised(gives, result.value)[1] if gives is not None else ""


def _body(part: Part, given: JsonObject) -> Body:
    if part.target.startswith("tool:"):
        return Plain(Content(structured=given))
    words = f"Do what {part} is there for."
    return Plain(Content(parts=(text_part(words), data_part(given)), structured=given))


def all_kept(reports: Sequence[ConsumerReport]) -> bool:
    return all(each.kept for each in reports)
