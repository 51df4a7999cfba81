"""Reports in a form agreed beforehand, as text: the template, what a report in it says, and how one is written. Pure.

A template is what agents are shown, and nothing else describes it:

    ## [i/n] Title
    Sender: text
    Amount: number
    Urgent: yes/no
    Received: date
    Topics?: list

A report has one such section for each thing it reports on, numbered from 1 to n. A text goes on on lines that are
indented by two spaces. Whatever stands in a report is data: a line in it can end up as a value and nowhere else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias, get_args

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text

Kind: TypeAlias = Literal["text", "number", "yes/no", "date", "list"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SECTIONS = "sections"
TITLE = "title"
HEADING = "## [i/n] Title"
SECTIONS_AT_MOST = 500

_KINDS: dict[str, Kind] = {each: each for each in KINDS}
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9 _-]{0,39})(\?)?: ?(.*)")
_HEADING = re.compile(r"## \[([0-9]{1,4})/([0-9]{1,4})\] (\S.*)")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    fields: tuple[Field, ...]
    text: str
    """As it is shown to whoever has to report."""


def template_from(text: str) -> Template:
    """Raises: InvalidRequest: it is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != HEADING:
        raise InvalidRequest(f"a template begins with the line `{HEADING}`")
    fields: dict[str, Field] = {}
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        kind = _KINDS.get(match[3].strip()) if match is not None else None
        if match is None or kind is None:
            raise InvalidRequest(
                f"`{line}` is no field of a template: write `Name: KIND`, KIND one of {', '.join(KINDS)}"
            )
        name = match[1].strip()
        if name.casefold() == TITLE or name.casefold() in fields:
            raise InvalidRequest(f"a template cannot have two fields {name}")
        fields[name.casefold()] = Field(name=name, kind=kind, optional=bool(match[2]))
    if not fields:
        raise InvalidRequest("a template has at least one field below its heading")
    return Template(fields=tuple(fields.values()), text="\n".join(lines))


def report_from(text: str, template: Template) -> JsonObject:
    """What a report says: `{"sections": [{"title", and each field}]}`.

    Raises: InvalidRequest: it is not in the form; the message tells its author what to mend, and has the template.
    """
    try:
        return _report_from(text, template)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error.message}; the template is\n{template.text}") from error


def report_text(sections: Sequence[JsonObject], template: Template) -> str:
    """The report in the form; `report_from` reads the same from it."""
    written: list[str] = []
    for number, section in enumerate(sections, 1):
        lines = [f"## [{number}/{len(sections)}] {json_text(section.get(TITLE))}"]
        for field in template.fields:
            value = section.get(field.name)
            if value is not None:
                lines.append(f"{field.name}: {_written(value)}")
        written.append("\n".join(lines))
    return "\n\n".join(written)


def sections_in(value: Json) -> list[JsonObject]:
    return [json_object(each) for each in json_list(json_object(value).get(SECTIONS))]


def _report_from(text: str, template: Template) -> JsonObject:
    known = {field.name.casefold(): field for field in template.fields}
    sections: list[dict[str, list[str]]] = []
    said_of = 0
    last = ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        heading = _HEADING.fullmatch(line)
        if heading is not None:
            said_of = said_of or int(heading[2])
            _check_count(number, (int(heading[1]), int(heading[2])), (len(sections) + 1, said_of))
            sections.append({TITLE: [heading[3].strip()]})
            last = ""
        elif line.startswith("  ") and last:
            sections[-1][last].append(line[2:])
        elif line.strip():
            last = _field_line(number, line, known, sections)
    if len(sections) != said_of or not sections:
        raise InvalidRequest(f"the report has {len(sections)} sections, and says that there are {said_of}")
    return {SECTIONS: [_section(count, _joined(each), template) for count, each in enumerate(sections, 1)]}


def _joined(lines: dict[str, list[str]]) -> dict[str, str]:
    return {name: "\n".join(each) for name, each in lines.items()}


def _check_count(number: int, found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected or expected[1] > SECTIONS_AT_MOST:
        raise InvalidRequest(
            f"line {number} says [{found[0]}/{found[1]}] where [{expected[0]}/{expected[1]}] is due, "
            f"of at most {SECTIONS_AT_MOST}"
        )


def _field_line(number: int, line: str, known: dict[str, Field], sections: list[dict[str, list[str]]]) -> str:
    """Take up `Name: value`; gives the field's name."""
    match = _FIELD.fullmatch(line)
    field = known.get(match[1].strip().casefold()) if match is not None and not match[2] else None
    if match is None or field is None or not sections:
        names = ", ".join(each.name for each in known.values())
        where = "a section's heading" if not sections else f"a heading, or one of {names}"
        raise InvalidRequest(f"line {number} is not what is due here: {where}")
    if field.name in sections[-1]:
        raise InvalidRequest(f"line {number} says {field.name} a second time")
    sections[-1][field.name] = [match[3]]
    return field.name


def _section(count: int, said: dict[str, str], template: Template) -> JsonObject:
    section: JsonObject = {TITLE: said[TITLE]}
    for field in template.fields:
        text = said.get(field.name)
        if text is None:
            if field.optional:
                continue
            raise InvalidRequest(f"section {count} lacks {field.name}")
        section[field.name] = _value(count, field, text)
    return section


def _value(count: int, field: Field, text: str) -> Json:
    plain = text.strip()
    match field.kind:
        case "text":
            return text
        case "list":
            return [part for each in plain.split(",") if (part := each.strip())]
        case "yes/no" if plain.casefold() in ("yes", "no"):
            return plain.casefold() == "yes"
        case "number" if _NUMBER.fullmatch(plain):
            return float(plain) if "." in plain else int(plain)
        case "date" if _is_date(plain):
            return plain
        case _:
            raise InvalidRequest(f"{field.name} of section {count} is no {field.kind}")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _written(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    return str(value).replace("\n", "\n  ")
