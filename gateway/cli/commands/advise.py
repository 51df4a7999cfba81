"""`drawbridge advise`: which pattern fits the work, or what the record of runs suggests."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command
from gateway.cli.remote import connect
from gateway.cli.render import show, stderr
from gateway.cli.words import clean
from gateway.config.problems import closest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text
from gateway.orchestration.runs.advice.answers import on_traits
from gateway.orchestration.runs.advice.traits import QUESTIONS, Traits

app = single_command()


@app.command()
def advise(
    said: Annotated[
        list[str] | None, typer.Option("--set", help="One trait, `intents=3`; repeat it. `--set help` lists them.")
    ] = None,
    traits: Annotated[Path | None, typer.Option("--traits", help="YAML file of traits.")] = None,
    run: Annotated[str, typer.Option("--run", help="What the record of this run suggests.")] = "",
    workflow: Annotated[str, typer.Option("--workflow", help="What the record of a workflow's runs suggests.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Name the pattern that fits, why, what it will take, and a configuration to start from."""
    if (run or workflow) and (said or traits is not None):
        raise Failure("a record is advised on, or traits", "Leave out --set and --traits, or --run.", code=USAGE)
    if run or workflow:
        with connect(place(config, data)) as remote:
            advice = json_object(remote.get("advice", query={"run": run, "workflow": workflow}).get("advice"))
        show(advice, lambda: _of_record(advice), as_json=as_json)
        return
    if said == ["help"]:
        for name, question in QUESTIONS:
            print(f"{name:<14}{question}")
        return
    advice = on_traits(_traits(traits, said or []))
    show(advice, lambda: _of_traits(advice), as_json=as_json)


def _traits(path: Path | None, said: Sequence[str]) -> Traits:
    """What the file and the options say; asked for, on a terminal, where neither says anything."""
    given: dict[str, object] = {}
    if path is not None:
        given |= _file(path)
    for each in said:
        name, equals, value = each.partition("=")
        if not equals:
            raise Failure(f"{each!r} is no trait", "Write NAME=VALUE, for example intents=3.", code=USAGE)
        given[name] = _read(name, value)
    if not given and sys.stdin.isatty():
        given = _asked()
    try:
        return Traits.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        wrong = f"{name}: {first['msg']}"
        if first["type"] == "extra_forbidden":
            meant = closest(name, Traits.model_fields)
            wrong = f"there is no trait {name!r}" + (f" (did you mean {meant!r}?)" if meant else "")
        raise Failure(wrong, "`drawbridge advise --set help` lists what there is.", code=USAGE) from error


def _file(path: Path) -> dict[str, object]:
    try:
        loaded: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failure(f"{path} cannot be read as YAML", code=USAGE) from error
    if not isinstance(loaded, dict):
        raise Failure(f"{path} holds no mapping", "Write one trait a line, `intents: 3`.", code=USAGE)
    return {str(name): value for name, value in loaded.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - YAML's


def _read(name: str, value: str) -> object:
    """Raises: Failure: it is no YAML."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Failure(
            f"{name}: {value!r} cannot be read as YAML", "Write for example intents=3.", code=USAGE
        ) from error


def _asked() -> dict[str, object]:
    given: dict[str, object] = {}
    for name, question in QUESTIONS:
        default = Traits.model_fields[name].default
        stderr().print(Text(f"{question} [{default}]"), end=" ")
        answer = sys.stdin.readline().strip()
        if answer:
            given[name] = _read(name, answer)
    return given


def _of_traits(advice: JsonObject) -> RenderableType:
    lines = [Text.assemble((json_text(advice.get("pattern")), "bold"))]
    lines += [Text(f"  + {each}") for each in json_list(advice.get("because"))]
    lines += [Text(f"  - {each}") for each in json_list(advice.get("against"))]
    lines.append(Text(_prediction(json_object(advice.get("prediction")))))
    lines += [Text(f"warning: {each}", style="yellow") for each in json_list(advice.get("warnings"))]
    for other in map(json_object, json_list(advice.get("others"))):
        lines.append(Text(f"else {other.get('pattern')}: {_prediction(json_object(other.get('prediction')))}", "dim"))
    return Group(*lines, Text(""), Text(json_text(advice.get("start"))))


def _prediction(will: JsonObject) -> str:
    success = will.get("success")
    share = f"{success:.0%}" if isinstance(success, int | float) else ""
    return (
        f"{will.get('calls')} calls, {will.get('latencyS')} s on the critical path, {will.get('costUsd')} USD, "
        f"all of it right in {share} of cases"
    )


def _of_record(advice: JsonObject) -> RenderableType:
    lines: list[Text] = []
    for each in map(json_object, json_list(advice.get("findings"))):
        lines.append(Text.assemble((_line(each.get("what")), "bold"), f"  {_line(each.get('evidence'))}"))
        lines.append(Text(f"  {_line(each.get('suggestion'))}"))
    lines += [Text(f"warning: {_line(each)}", style="yellow") for each in json_list(advice.get("warnings"))]
    if not lines:
        lines.append(Text(f"Nothing in {advice.get('runs')} runs suggests a change."))
    return Group(*lines)


def _line(value: Json) -> str:
    return clean(str(value))
