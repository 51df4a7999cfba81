"""How a run looks: the tree of its steps with the calls made in them, its answer, its events."""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text
from rich.tree import Tree

from gateway.cli.render import cell, duration, moment, state
from gateway.cli.words import clean, cut, in_line
from gateway.core.content import content_from_json
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

SAID_CHARS = 160
"""Of a step's summary, on its line of the tree."""

RECEIVED_CHARS = 60
"""Of what a step was given."""

NAME_CHARS = 24
"""Of a step's name; behind its target it would make every view wide."""

WAITS_CHARS = 400
"""Of a question that is open."""

Calls = Mapping[str, Sequence[JsonObject]]
"""Audit records by the id of the step in which the call was made."""


def calls_by_step(records: Iterable[JsonObject]) -> Calls:
    """What was called in each step, each call once, with what became of it."""
    calls: dict[str, list[JsonObject]] = {}
    for record in records:
        if json_text(record.get("phase")) == "outcome" and record.get("step_id"):
            calls.setdefault(json_text(record.get("step_id")), []).append(record)
    return calls


def run_tree(run: JsonObject, calls: Calls, explained: JsonObject) -> Tree:
    """A run: who was called, what they called in turn, how long it took, what became of it, by which rule; nested runs
    too, and whom it waits for. `explained` is its explanation."""
    head = Text.assemble(
        (clean(json_text(run.get("workflow"))), "bold"),
        f"  {clean(json_text(run.get('id')))}  ",
        state("paused" if run.get("pausedAt") else run.get("state")),
        f"  for {clean(json_text(run.get('owner')))}{_usage(run)}",
    )
    tree = Tree(head)
    origin = json_object(run.get("forkedFrom"))
    if origin:
        tree.add(
            Text(clean(f"goes on from {json_text(origin.get('step')) or json_text(origin.get('run'))}"), style="dim")
        )
    if run.get("version"):
        tree.add(Text(clean(f"version {json_text(run.get('version'))}"), style="dim"))
    _add_steps(tree, _told(run, explained), calls, _steps_by_run(explained))
    for each in map(json_object, json_list(explained.get("waits"))):
        waits = f"waits for {json_text(each.get('for'))}: {json_text(each.get('question'))}"
        tree.add(Text(cut(clean(waits), WAITS_CHARS), style="yellow"))
    if run.get("error"):
        tree.add(Text(clean(json_text(run.get("error"))), style="red"))
    return tree


def answer_of(run: JsonObject) -> str:
    """What the run answered, for people; empty while it has not."""
    return content_from_json(json_object(run.get("output")).get("content")).text


def event_line(said: JsonObject) -> Text:
    """One event of a run."""
    event = json_object(said.get("event"))
    line = Text.assemble(moment(said.get("at"))[11:], "  ", cell(event.get("kind")))
    if event.get("state"):
        line = Text.assemble(line, "  ", state(event.get("state")))
    text = json_text(event.get("text")) or json_text(event.get("name"))
    return Text.assemble(line, "  ", in_line(text)) if text else line


def said_of(step: JsonObject, value: str) -> str:
    """What a step said, in words: why it failed, its own summary, or else its answer, which is the member `value`."""
    words = json_text(step.get("reason")) or json_text(step.get("summary"))
    return words or (compact(step.get(value)) if step.get("state") == "ok" else "")


def compact(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value is not None else ""


def called(step: JsonObject) -> str:
    """Whom a step called, and as what where that has a name of its own."""
    name = json_text(step.get("name"))
    return json_text(step.get("target")) + (f" as {cut(name, NAME_CHARS)}" if name else "")


def received(step: JsonObject) -> str:
    """What a step was given: its own input, and what it was handed beside that, by name."""
    own = step.get("received")
    handed = _handed(step)
    if not handed:
        return cut(compact(own), RECEIVED_CHARS)
    shown = f"{cut(compact(own), RECEIVED_CHARS // 2)} + " if own else ""
    return shown + cut(handed, RECEIVED_CHARS - len(shown))


def _handed(step: JsonObject) -> str:
    handed = json_object(step.get("handed"))
    request = json_list(handed.get("request"))
    text, data = "text" in request, "data" in request
    parts = ["the request, its data" if text and data else "the request" if text else "the request's data"]
    parts = parts if request else []
    for name in ("results", "scratchpad"):
        named = ", ".join(str(each) for each in json_list(handed.get(name)))
        parts.append(f"{name}: {named}" if named else "")
    parts += [str(each) for each in json_list(handed.get("beside"))]
    return "; ".join(part for part in parts if part)


def _told(run: JsonObject, explained: JsonObject) -> list[Json]:
    """The run's own steps, each with what the explanation tells of it beside."""
    told = {json_text(each.get("step")): each for each in map(json_object, json_list(explained.get("steps")))}
    steps = map(json_object, json_list(run.get("steps")))
    return [{**told.get(json_text(each.get("id")), {}), **each} for each in steps]


def _steps_by_run(explained: JsonObject) -> dict[str, list[JsonObject]]:
    """The last attempts at the steps of every run of an explanation, in the words of a run's own steps."""
    found: dict[str, list[JsonObject]] = {}
    for step in map(json_object, json_list(explained.get("steps"))):
        if not step.get("triedAgain"):
            shown = {"id": step.get("step"), "durationUs": step.get("tookUs"), "value": step.get("answered")}
            shown["remoteTask"] = step.get("run")
            found.setdefault(json_text(step.get("step")).partition("/")[0], []).append({**step, **shown})
    return found


def _add_steps(tree: Tree, steps: Iterable[Json], calls: Calls, by_run: Mapping[str, Sequence[JsonObject]]) -> None:
    for step in map(json_object, steps):
        made = calls.get(json_text(step.get("id")), ())
        own = [call for call in made if _is_the_step(call, step)]
        branch = tree.add(_step_line(step, json_text(own[-1].get("rule")) if own else ""))
        for call in made:
            if not _is_the_step(call, step):
                branch.add(_call_line(call))
        _add_steps(branch, json_list(step.get("steps")), calls, by_run)
        if json_text(step.get("target")).startswith("workflow:"):
            _add_steps(branch, by_run.get(json_text(step.get("remoteTask")), ()), calls, by_run)


def _is_the_step(call: JsonObject, step: JsonObject) -> bool:
    """Whether the record is of the step itself, or of an attempt at it, rather than of a call made in it."""
    return call.get("kind") == "workflow" and call.get("capability") == step.get("target")


def _step_line(step: JsonObject, rule: str) -> Text:
    attempt = step.get("attempt")
    said = cut(clean(said_of(step, "value")), SAID_CHARS)
    phase = json_text(step.get("phase"))
    handed = cut(clean(_handed(step)), RECEIVED_CHARS)
    return Text.assemble(
        state(step.get("state")),
        f"  {clean(called(step))}",
        f" ({phase})" if phase else "",
        "" if step.get("state") == "running" else f"  {duration(step.get('durationUs'))}",
        f"  attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else "",
        _usage(step),
        f"  {clean(rule)}" if rule else "",
        (f"  given {handed}" if handed else "", "dim"),
        (f"  {said}" if said else "", "dim"),
    )


def _call_line(call: JsonObject) -> Text:
    rule, reason = json_text(call.get("rule")), json_text(call.get("reason"))
    return Text.assemble(
        state(call.get("outcome")),
        f"  {clean(json_text(call.get('subject')))} -> {clean(json_text(call.get('capability')))}",
        f"  {duration(call.get('duration_us'))}",
        (f"  {clean(rule)}{f': {clean(reason)}' if reason else ''}" if rule or reason else "", "dim"),
    )


def _usage(value: JsonObject) -> str:
    usage = json_object(value.get("usage"))
    parts = [_tokens(usage)] if usage.get("tokens") else []
    cost = json_text(usage.get("costUsd"), "0")
    if cost.strip("0."):
        parts.append(f"{cost} USD")
    parts += [json_text(model) for model in json_list(usage.get("models"))]
    return clean(f"  {', '.join(parts)}") if parts else ""


def _tokens(usage: JsonObject) -> str:
    """All tokens, which they were, and whether somebody reported them; `about` for what was only counted."""
    about = "about " if usage.get("countedTokens") else ""
    given, produced = usage.get("inputTokens"), usage.get("outputTokens")
    split = f" ({given} in, {produced} out)" if given or produced else ""
    return f"{about}{usage['tokens']} tokens{split}"
