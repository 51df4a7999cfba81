"""Which reply a mock gives to a call, and what stands in it. Counts what was given; knows no clock and no gateway."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.content import Content, data_part, text_part
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import Labels
from gateway.orchestration.records.results import MEMBER
from gateway.testing.scenarios.matching import mismatch, said_in, values_at
from gateway.testing.scenarios.mocks import MockSettings, ReplySettings, WhenSettings

_REFERENCE = re.compile(r"\$(\{)?([A-Za-z0-9_-]+(?:(?:\.[A-Za-z0-9_-]+)|(?:\[\d+\]))*)(?(1)\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One call, as whoever answers it hears it."""

    target: str
    words: str
    """What it says in words."""
    data: JsonObject
    """Its structured input, without what is handed over beside it."""
    handed: JsonObject
    """What is handed over beside it: `phase`, `task`, `data`, `results`, `scratchpad`, `note`."""
    nth: int
    """Which call of this target it is, from 1."""

    @property
    def known(self) -> dict[str, Json]:
        """What replies may refer to."""
        return {
            "data": self.data,
            "message": self.words,
            "task": self.handed.get("task"),
            "handed": self.handed,
            "nth": self.nth,
        }


def heard_from(target: str, content: Content, nth: int) -> Heard:
    """What a call says."""
    said = json_object(content.structured)
    data = {name: each for name, each in said.items() if name != MEMBER}
    return Heard(target=target, words=content.text, data=data, handed=json_object(said.get(MEMBER)), nth=nth)


@dataclass(slots=True)
class Script:
    """The replies of one mock, and how often each was given. One scenario, one run."""

    settings: MockSettings
    heard: int = 0
    given: dict[int, int] = field(default_factory=dict[int, int])

    def reply_to(self, heard: Heard) -> ReplySettings | None:
        """The reply this call gets; None where none is for it."""
        offered = self.settings.offered
        if self.settings.in_turn:
            return offered[min(heard.nth, len(offered)) - 1]
        for place, reply in enumerate(offered):
            used = self.given.get(place, 0)
            if (reply.times is None or used < reply.times) and (reply.when is None or fits(reply.when, heard)):
                self.given[place] = used + 1
                return reply
        return None


def fits(when: WhenSettings, heard: Heard) -> bool:
    """Whether a call is one of those a reply is for."""
    whole = f"{heard.words}\n{said_in(heard.data)}"
    return (
        (when.nth is None or when.nth == heard.nth)
        and (not when.phase or when.phase == heard.handed.get("phase"))
        and when.contains.lower() in whole.lower()
        and re.search(when.regex, whole) is not None
        and (when.data is None or not mismatch(when.data, heard.data))
        and (when.handed is None or not mismatch(when.handed, heard.handed))
    )


def answer_of(reply: ReplySettings, known: Mapping[str, Json], *, to_agent: bool) -> Content:
    """What the reply says, its references filled in. An agent's says in a member of its own what it says about it."""
    value, text = resolved(reply.value, known), filled(reply.text, known)
    member = _said_about(reply, known) if to_agent else {}
    if isinstance(value, str) and not member:
        return Content(parts=(text_part(text or value),))
    if value is None and not member:
        return Content(parts=(text_part(text),) if text else ())
    structured: Json = value
    if member:
        structured = _with_member(value, member)
    if isinstance(value, str):
        # Beside the member only an object has a place: what is a text by itself is said in words.
        text, structured = text or value, _with_member(None, member)
    words = text or ("" if to_agent else said_in(structured))
    return Content(parts=(*((text_part(words),) if words else ()), data_part(structured)), structured=structured)


def _with_member(value: Json, member: JsonObject) -> JsonObject:
    own: JsonObject = {} if value is None else value if isinstance(value, dict) else {"answer": value}
    return {**own, MEMBER: member}


def labels_of(reply: ReplySettings) -> Labels:
    """What the reply says that stands on its answer."""
    said = reply.labels
    if said is None:
        return Labels()
    return Labels(
        untrusted=frozenset(said.untrusted), confidential=frozenset(said.confidential), regions=frozenset(said.regions)
    )


def resolved(value: Json, known: Mapping[str, Json]) -> Json:
    """`value` with what it refers to: a text that is nothing but a reference is replaced by the value itself."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and _name(whole[2]) in known:
            return _found(whole[2], known)
        return filled(value, known)
    if isinstance(value, list):
        return [resolved(each, known) for each in value]
    if isinstance(value, dict):
        return {name: resolved(each, known) for name, each in value.items()}
    return value


def filled(text: str, known: Mapping[str, Json]) -> str:
    """`text` with every reference in it replaced by what it stands for; what refers to nothing known stays."""

    def found(match: re.Match[str]) -> str:
        if _name(match[2]) not in known:
            return match[0]
        value = _found(match[2], known)
        return "" if value is None else said_in(value)

    return _REFERENCE.sub(found, text)


def _said_about(reply: ReplySettings, known: Mapping[str, Json]) -> JsonObject:
    said = json_object(resolved({**reply.said}, known))
    if reply.summary:
        said["summary"] = filled(reply.summary, known)
    if reply.writes:
        said["writes"] = resolved({**reply.writes}, known)
    if not reply.commits:
        said["commits"] = False
    return said


def _name(reference: str) -> str:
    return re.split(r"[.\[]", reference, maxsplit=1)[0]


def _found(reference: str, known: Mapping[str, Json]) -> Json:
    found = values_at({**known}, reference)
    return found[0] if found else None
