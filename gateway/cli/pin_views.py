"""How pins are told: what waits, and what is different about it."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.cli.render import moment, state, table
from gateway.cli.words import clean, cut
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text


def pin_table(pins: list[JsonObject], *, empty: str) -> RenderableType:
    """One line for each pin."""
    return table(
        ("NAME", "STATE", "TRUSTED", "BY", "DIFFERENT", "FLAGS"),
        [
            (
                each.get("name"),
                state(each.get("state")),
                moment(each.get("trustedAt")),
                each.get("trustedBy"),
                ", ".join(json_text(json_object(change).get("at")) for change in json_list(each.get("changes"))),
                ", ".join(dict.fromkeys(json_text(json_object(flag).get("rule")) for flag in json_list(each["flags"]))),
            )
            for each in pins
        ],
        empty=empty,
    )


def difference(pin: JsonObject) -> RenderableType:
    """What was trusted against what was seen, place by place; all of it where nothing is trusted yet."""
    return Group(*_lines(pin))


def flags_of(pin: JsonObject) -> Iterator[str]:
    """What is odd about it, one sentence each."""
    for flag in map(json_object, json_list(pin.get("flags"))):
        excerpt = cut(json_text(flag.get("excerpt")), 120)
        yield f"{json_text(flag.get('at'))} {json_text(flag.get('meaning'))}: {excerpt}"


def _lines(pin: JsonObject) -> Iterator[RenderableType]:
    since = moment(pin.get("trustedAt"))
    trusted = f"trusted since {since}, by {json_text(pin.get('trustedBy'))}" if since else "not trusted yet"
    yield Text.assemble(
        (clean(json_text(pin.get("name"))), "bold"), "  ", state(pin.get("state")), f"  {clean(trusted)}"
    )
    changes = [json_object(each) for each in json_list(pin.get("changes"))]
    for change in changes:
        yield Text(f"  {clean(json_text(change.get('at')))}", style="bold")
        yield from _side("-", change.get("before"), "red")
        yield from _side("+", change.get("after"), "green")
    if not changes and pin.get("state") != "approved":
        for member, value in json_object(pin.get("definition")).items():
            yield Text(f"  {clean(member)}", style="bold")
            yield from _side("+", value if isinstance(value, str) else str(value), "green")
    for said in flags_of(pin):
        yield Text(f"  ! {clean(said)}", style="yellow")


def _side(mark: str, value: Json, style: str) -> Iterator[Text]:
    if isinstance(value, str):
        for line in value.split("\n"):
            yield Text(f"  {mark} {clean(line)}", style=style)
