"""`drawbridge router`: how well requests are routed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.classifier_remote import RemoteClassifier
from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, Place, command_group, place
from gateway.cli.place_contents import sections_of
from gateway.cli.remote import connect
from gateway.cli.render import cell, facts, progress, show, table
from gateway.cli.routes_recorded import recent_routes
from gateway.cli.words import clean
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.router.evaluation import Case, Labelled, evaluated, labelled_from
from gateway.patterns.router.pattern import Router
from gateway.patterns.router.routes import Routing

app = command_group("Measure where requests go, on a labelled set or by the record.")

_MOST_WRONG = 20


@app.callback()
def group() -> None:
    """About workflows of the pattern router."""


@app.command("eval")
def evaluate(
    labelled: Annotated[
        Path | None,
        typer.Argument(help='JSON lines: {"message", "data", "worker"}, or "workers".', show_default=False),
    ] = None,
    workflow: Annotated[str, typer.Option("--workflow", help="Slug of the router.")] = "",
    online: Annotated[bool, typer.Option("--online", help="Also ask the classifier, through the gateway.")] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="Key file of somebody who may call the classifier; else the operator.")
    ] = None,
    recent: Annotated[int, typer.Option("--recent", min=0, max=1000, help="Instead: what so many runs decided.")] = 0,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Accuracy, confusion matrix and the share decided by rules; exits with 1 when confidence is falling."""
    at = place(config, data)
    if recent:
        with connect(at) as remote, progress("reading runs"):
            report = recent_routes(remote, workflow, recent)
        show(report, lambda: _record(report), as_json=as_json)
        if report["falling"]:
            raise typer.Exit(FINDING)
        return
    if labelled is None:
        raise Failure("which labelled set?", "Give a file of JSON lines, or --recent N.", code=USAGE)
    router = _router(at, workflow)
    cases = _cases(labelled, router.routing)
    asked = _asked(at, router.routing, key) if online else _Asked()
    with progress("routing"):
        report = evaluated([_routed(each, router, asked) for each in cases])
    report["online"] = online
    show(report, lambda: _measured(report), as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a running gateway knows beyond the rules; nothing where none is asked."""

    offers: tuple[Offer, ...] = ()
    classifier: RemoteClassifier | None = None


def _router(at: Place, workflow: str) -> Router:
    """As the configuration has it. Raises: Failure: there is no such router."""
    workflows = sections_of(at).workflows
    routers = [slug for slug, each in workflows.items() if each.pattern == "router"]
    slug = workflow or (routers[0] if len(routers) == 1 else "")
    if slug not in routers:
        known = ", ".join(routers) or "none"
        raise Failure(f"which router? There is {known}", "Say which with --workflow.", code=USAGE)
    return Router(workflows[slug].to_json())


def _cases(path: Path, routing: Routing) -> list[Labelled]:
    try:
        return labelled_from(path.read_text(encoding="utf-8").splitlines(), routing.workers)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read", code=USAGE) from error
    except InvalidRequest as error:
        raise Failure(f"{path.name}: {error.message}", code=USAGE) from error


def _asked(at: Place, routing: Routing, key: Path | None) -> _Asked:
    role = routing.classifier
    if role is None and not routing.needs_offers:
        return _Asked()
    with connect(at) as remote:
        known = [json_object(each) for each in json_list(remote.get("agents").get("agents"))]
        url, own_key = remote.url, remote.key
    said = {f"agent:{json_text(each.get('slug'))}": each for each in known}
    offers = {worker: _offer(worker, said.get(worker, {})) for worker in routing.workers}
    if role is None:
        return _Asked(offers=tuple(offers.values()))
    own_key = key.read_text().strip() if key is not None else own_key
    return _Asked(offers=tuple(offers.values()), classifier=RemoteClassifier(role, offers, url, own_key))


def _offer(worker: str, agent: JsonObject) -> Offer:
    skills = [json_object(each) for each in json_list(agent.get("skills"))]
    return Offer(
        target=worker,
        found=bool(agent) or not worker.startswith("agent:"),
        title=json_text(agent.get("name")),
        description=json_text(agent.get("description")),
        skills=frozenset(json_text(each.get("id")).lower() for each in skills),
    )


def _routed(labelled: Labelled, router: Router, asked: _Asked) -> Case:
    """Where the router would send the request, as far as that is known without asking anybody who was not asked."""
    routing = router.routing
    ruling = routing.ruled(labelled.request, asked.offers)
    found = routing.decided_by_rules(ruling)
    if found is not None:
        # Without looking for several wishes the strongest is served, and the others are lost.
        served = found.workers if router.multi_intent else (found.worker,)
        return Case(labelled=labelled, workers=frozenset(served), by="rules")
    verdict = asked.classifier.verdict(labelled.request, ruling) if asked.classifier is not None else None
    if verdict is not None and verdict.confidence >= routing.threshold and (verdict.worker or verdict.intents):
        several = [each.worker for each in verdict.intents]
        served = several if several and router.multi_intent else [verdict.worker or several[0]]
        return Case(labelled=labelled, workers=frozenset(served), by="classifier")
    unheard = (routing.classifier is not None and asked.classifier is None) or (
        routing.needs_offers and not asked.offers
    )
    spare = frozenset[str]() if unheard else frozenset({routing.otherwise} - {""})
    return Case(labelled=labelled, workers=spare, by="otherwise" if spare else "")


def _measured(report: JsonObject) -> RenderableType:
    confusion = json_object(report["confusion"])
    columns = sorted({found for row in confusion.values() for found in json_object(row)})
    rows = [(label, *(json_object(row).get(found) or "" for found in columns)) for label, row in confusion.items()]
    wrong = [json_object(each) for each in json_list(report["wrong"])]
    missed = [
        (each.get("message"), each.get("expected"), each.get("found"), each.get("by")) for each in wrong[:_MOST_WRONG]
    ]
    return Group(
        facts(
            [
                ("accuracy", _percent(report["accuracy"])),
                ("cases", report["cases"]),
                ("decided", report["decided"]),
                ("right of those", _percent(report["accuracy_of_decided"])),
                ("by rules", _percent(report["by_rules"])),
                ("by the classifier", _percent(report["by_classifier"])),
            ]
        ),
        Text(""),
        table(("EXPECTED", *columns), rows, empty=""),
        Text(""),
        table(("WRONG", "EXPECTED", "FOUND", "BY"), missed, empty="Nothing went wrong."),
    )


def _record(report: JsonObject) -> RenderableType:
    shares = [(by, _percent(share)) for by, share in json_object(report["by"]).items()]
    lines: list[RenderableType] = [
        facts(
            [
                ("runs", report["runs"]),
                *shares,
                ("found in the cache", _percent(report["cache_hit_rate"])),
                ("confidence", report["confidence"]),
            ]
        )
    ]
    if report["falling"]:
        fall = f"{cell(report.get('older')).plain} to {cell(report.get('newer')).plain}"
        lines.append(Text(clean(f"Confidence is falling, from {fall}: look at what no rule decides."), style="yellow"))
    return Group(*lines)


def _percent(value: Json) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else "-"
