"""`drawbridge costs`: what was spent, on whom, and how much of the budgets that is."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command
from gateway.cli.remote import connect
from gateway.cli.render import show, table
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

app = single_command()

_OF_STAGES = {"calls": "CALLS", "tokens": "TOKENS", "costUsd": "USD"}
"""What an answer keeps of each stage; which tokens they were it does not say."""
_USED = {
    "calls": "CALLS",
    "tokens": "TOKENS",
    "inputTokens": "IN",
    "outputTokens": "OUT",
    "countedTokens": "COUNTED",
    "costUsd": "USD",
    "models": "MODELS",
}

BY = ("agent", "tool", "workflow", "tenant", "day", "run", "step", "stage")


@app.command()
def costs(
    by: Annotated[str, typer.Option("--by", help=f"What to add up by: {', '.join(BY)}.")] = "agent",
    since: Annotated[str, typer.Option("--since", help="First day, 2026-11-28; by default 30 days back.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last day; by default today.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Calls, tokens and US dollars, by agent, tool, workflow, tenant, day, run, step or stage."""
    if by not in BY:
        raise Failure(f"nothing is added up by {by}", f"Say one of {', '.join(BY)}.", code=USAGE)
    with connect(place(config, data)) as remote:
        said = remote.get("costs", query={"by": by, "since": since, "until": until})
    show(said, lambda: _view(said, by), as_json=as_json)


def _view(said: JsonObject, by: str) -> RenderableType:
    used = _OF_STAGES if by == "stage" else _USED
    rows = [json_object(each) for each in json_list(said.get("rows"))]
    lines = [_line(json_text(row.get("name")), json_object(row.get("usage")), used) for row in rows]
    if left_out := said.get("leftOut"):
        lines.append((f"{left_out} more",))
    if len(lines) > 1:
        lines.append(_line("in all", json_object(said.get("total")), used))
    spent = table(
        (by.upper(), *used.values()),
        lines,
        empty=f"Nothing was spent between {said.get('since')} and {said.get('until')}.",
    )
    budgets = [json_object(each) for each in json_list(said.get("budgets"))]
    if not budgets:
        return spent
    limits = table(
        ("BUDGET", "LIMIT", "SPENT", "OF", "OPENS AGAIN"),
        [tuple(each.get(name) for name in ("budget", "limit", "spent", "most", "opensAt")) for each in budgets],
        empty="",
    )
    return Group(spent, Text(""), limits)


def _line(name: str, usage: JsonObject, used: Mapping[str, str]) -> tuple[Json, ...]:
    return (name, *(usage.get(each) for each in used))
