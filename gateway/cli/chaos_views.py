"""How the report on a fault looks: what it struck, how far that spread, what stopped it, and where it came out."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.render import state, table
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text


def spread(report: JsonObject) -> RenderableType:
    """See `gateway.core.spread.Spread`."""
    struck, reached = _rows(report, "struck"), _rows(report, "reached")
    if not struck:
        return Text(f"Nothing of {json_text(report.get('injection'))} stands in the audit log: it struck no call.")
    return Group(
        Text(_in_short(report), "bold"),
        Text(""),
        _calls("STRUCK", struck),
        *((Text(""), _calls("REACHED", reached)) if reached else ()),
        Text(""),
        table(
            ("STOPPED", "BY", "AT", "RUN", "BECAUSE"),
            [
                (each.get("how"), each.get("by"), each.get("call") or each.get("chosen"), each.get("run"),
                 each.get("because"))
                for each in _rows(report, "stopped")
            ],
            empty="Nothing is known to have stopped it.",
        ),
    )  # fmt: skip


def _in_short(report: JsonObject) -> str:
    far, stopped = json_object(report.get("far")), _rows(report, "stopped")
    runs = _rows(report, "runs")
    carrying = sum(each.get("carries") is True for each in runs)
    came_out = f"in {carrying} of {far.get('runs')} runs it is in the answer" if runs else "it was part of no run"
    faults = ", ".join(json_text(each) for each in json_list(report.get("faults")))
    said = (
        f"{faults}: {far.get('struck')} calls struck, {far.get('calls')} more reached, "
        f"stopped {len(stopped)} times; {came_out}"
    )
    callers = len(_rows(report, "callers"))
    return f"{said}; {callers} answers outside of runs carry it" if callers else said


def _calls(title: str, calls: Iterable[JsonObject]) -> RenderableType:
    return table(
        (title, "BY", "OUTCOME", "RUN", "STEP", "RECORD"),
        [
            (each.get("call"), each.get("by"), state(each.get("outcome")), each.get("run"), each.get("step"),
             each.get("record"))
            for each in calls
        ],
        empty="",
    )  # fmt: skip


def _rows(report: JsonObject, name: str) -> list[JsonObject]:
    found: list[Json] = json_list(report.get(name))
    return [json_object(each) for each in found]
