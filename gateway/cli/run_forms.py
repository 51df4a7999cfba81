"""An explanation of a run in the forms people want it in: a table, a diagram in Mermaid, why it was decided so."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.render import duration, state, table
from gateway.cli.run_views import RECEIVED_CHARS, called, compact, received, said_of
from gateway.cli.words import clean, cut
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

_SAID_CHARS = 48


def run_table(said: JsonObject) -> RenderableType:
    """One line an attempt, in the order in which they began: who, given what, when, how long, at what price."""
    rows = [
        (
            step.get("number"),
            "  " * _whole(step.get("depth")) + called(step),
            state(step.get("state")),
            step.get("attempt"),
            duration(step.get("startedUs")),
            duration(step.get("tookUs")),
            _tokens(step),
            received(step),
            cut(said_of(step, "answered"), RECEIVED_CHARS),
        )
        for step in map(json_object, json_list(said.get("steps")))
    ]
    columns = ("#", "TARGET", "STATE", "TRY", "AT", "TOOK", "TOKENS", "RECEIVED", "SAID")
    return Group(table(columns, rows, empty="No steps yet."), Text(""), why(said))


def why(said: JsonObject) -> RenderableType:
    """Every decision with its reason, and where the failure began."""
    lines = [
        Text.assemble(
            f"{duration(each.get('atUs')):>8}  ",
            (clean(json_text(each.get("what"))), "bold"),
            f"  {clean(compact(each.get('chosen')))}",
            (f"  {clean(json_text(each.get('because')))}", "dim"),
        )
        for each in map(json_object, json_list(said.get("decisions")))
    ]
    failure = json_object(said.get("failure"))
    if failure:
        step = json_text(failure.get("step"))
        where = called(failure) + (f" ({step})" if step else "")
        lines.append(
            Text.assemble(
                ("failed first  ", "red"),
                f"{clean(where)}  {clean(json_text(failure.get('error')))}: {clean(json_text(failure.get('reason')))}",
            )
        )
        later = json_list(failure.get("consequences"))
        if later:
            lines.append(Text(f"because of it  {clean(', '.join(map(str, later)))}"))
    return Group(*lines)


def mermaid(said: JsonObject) -> str:
    """The run as a sequence diagram."""
    run = json_object(said.get("run"))
    names = {f"workflow:{json_text(run.get('workflow'))}": "W"}
    for target in json_list(said.get("agents")):
        names.setdefault(str(target), f"P{len(names)}")
    lines = ["sequenceDiagram", *(f"    participant {alias} as {_plain(name)}" for name, alias in names.items())]
    lines += _messages(said, names)
    failure = json_object(said.get("failure"))
    if failure and failure.get("target") in names:
        alias = names[json_text(failure.get("target"))]
        lines.append(f"    Note over {alias}: failed first - {_plain(json_text(failure.get('reason')))}")
    return "\n".join(lines) + "\n"


def _messages(said: JsonObject, names: dict[str, str]) -> Iterator[str]:
    events: list[tuple[int, int, str]] = []
    for step in map(json_object, json_list(said.get("steps"))):
        alias = names[json_text(step.get("target"))]
        number, began = _whole(step.get("number")), _whole(step.get("startedUs"))
        tries = f" (attempt {step['attempt']})" if _whole(step.get("attempt")) > 1 else ""
        name = f" {_plain(json_text(step.get('name')))}" if step.get("name") else ""
        events.append((began, 2 * number, f"    W->>{alias}: {number}{name}{tries} {_plain(received(step))}"))
        if step.get("state") == "running":
            continue
        arrow = "-->>" if step.get("state") == "ok" else "--x"
        text = said_of(step, "answered") or json_text(step.get("state"))
        ended = began + _whole(step.get("tookUs"))
        took = duration(step.get("tookUs"))
        events.append((ended, 2 * number + 1, f"    {alias}{arrow}W: {number} {_plain(text)} [{took}]"))
    for each in map(json_object, json_list(said.get("decisions"))):
        text = f"{json_text(each.get('what'))}: {compact(each.get('chosen'))}"
        events.append((_whole(each.get("atUs")), 0, f"    Note over W: {_plain(text)}"))
    return (line for _, _, line in sorted(events))


def _plain(text: str) -> str:
    """Text that ends neither a line nor a statement of Mermaid's."""
    swapped = text.translate({ord(";"): ",", ord("#"): " ", ord(":"): " ", ord("<"): " ", ord(">"): " "})
    return cut(clean(swapped), _SAID_CHARS) or "-"


def _tokens(step: JsonObject) -> str:
    usage = json_object(step.get("usage"))
    tokens, cost = usage.get("tokens"), json_text(usage.get("costUsd"), "0")
    said = str(tokens) if tokens else ""
    return f"{said} ({cost} USD)" if cost.strip("0.") else said


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
