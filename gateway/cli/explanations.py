"""How a judgement on a call is told: the verdict, the rules that speak of it, and what would turn it round."""

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.render import facts, table
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

_VERDICTS = {"allow": ("allowed", "green"), "deny": ("denied", "red"), "depends": ("it depends", "yellow")}


def explanation(said: JsonObject, who: str) -> RenderableType:
    """An explanation, for people."""
    matches = [json_object(each) for each in json_list(said.get("matches"))]
    rows = [
        (each.get("rule"), _where(said, each.get("line")), _pattern(each), each.get("outcome"), each.get("note"))
        for each in matches
    ]
    rules = table(("RULE", "AT", "SPEAKS OF", "HERE", ""), rows, empty="No rule speaks of it.")
    return Group(
        facts(
            [
                ("call", f"{who} -> {json_text(said.get('capability'))}"),
                ("verdict", Text(*_VERDICTS.get(json_text(said.get("decision")), ("unknown", "yellow")))),
                ("because", said.get("reason")),
                ("rule", json_text(said.get("rule"))),
                ("at", _where(said, said.get("line"))),
                *(("to change it", each) for each in json_list(said.get("change"))),
                *(("note", each) for each in json_list(said.get("notes"))),
            ]
        ),
        Text(""),
        rules,
    )


def short_reason(why: JsonObject) -> str:
    """Why something is hidden, on one line."""
    rule = json_text(why.get("rule"))
    where = _where(why, why.get("line"))
    return f"{json_text(why.get('reason'))} [{rule}{f', {where}' if where else ''}]"


def first_change(why: JsonObject) -> str:
    """The first thing that would turn it round."""
    changes = json_list(why.get("change"))
    return json_text(changes[0]) if changes else ""


def _where(said: JsonObject, line: Json) -> str:
    file = json_text(said.get("file")).rpartition("/")[2]
    return f"{file or 'line'}:{line}" if line else ""


def _pattern(match: JsonObject) -> str:
    when = json_text(match.get("when"))
    return f"{json_text(match.get('pattern'))}{f' when {when}' if when else ''}"
