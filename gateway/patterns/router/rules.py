"""Rules that send a request to a worker: by words, by expressions, by its data, by declared skill. Pure.

Every rule that holds adds its weight to its worker's score; a worker's share of all scores is how sure the rules are.
A message is looked at part by part (sentence, clause, line): parts of different workers are different wishes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.ports.orchestration import Offer
from gateway.patterns.router.bounded_regex import bounded, found_in
from gateway.patterns.shared.references import TASK, Condition, condition_from, named_in
from gateway.patterns.shared.settings import number_or, objects, target_in, texts
from gateway.patterns.shared.wishes import Hit, Intent, breaks_in, intents_in, part_of

LONGEST_TEXT = 4000
"""Characters of a message that rules look at."""
SKILL_WEIGHT = 0.5
"""Of a word that is the tag of a declared skill."""
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of `router.rules`."""

    number: int
    """Its place among the rules, from 0."""
    worker: str
    """Capability name; empty where whoever declares the skill is meant."""
    skill: str = ""
    keywords: tuple[str, ...] = ()
    regex: "re.Pattern[str] | None" = None
    when: Condition | None = None
    weight: float = 1.0

    @property
    def about_words(self) -> bool:
        return bool(self.keywords) or self.regex is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the rules say."""

    hits: tuple[Hit, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """By worker, the strongest first; among equals in the order of the rules."""
    intents: tuple[Intent, ...] = ()
    """Where there is more than one."""

    @property
    def strongest(self) -> str:
        """Empty where no rule holds."""
        return next(iter(self.scores), "")

    @property
    def share(self) -> float:
        """Of the strongest, 0 to 1."""
        total = sum(self.scores.values())
        return self.scores[self.strongest] / total if total else 0.0


def rules_in(settings: JsonObject) -> tuple[Rule, ...]:
    """The rules of a router. Raises: InvalidRequest: one says nothing, or says what cannot be."""
    return tuple(_rule(number, entry) for number, entry in enumerate(objects(settings.get("rules"))))


def judged(
    rules: Sequence[Rule], message: str, data: Json, offers: Mapping[str, Offer], *, by_skill: bool = False
) -> Ruling:
    """What the rules say of a request. `offers`: what workers declare, in their order; empty where nobody looked."""
    text = _spaced(message)[:LONGEST_TEXT]
    breaks = breaks_in(text)
    known: dict[str, Json] = {TASK: {"message": message, **json_object(data)}}
    wanted = json_text(json_object(data).get("skill")).casefold()
    hits = [hit for rule in rules for hit in _hits(rule, text, breaks, known, wanted, offers)]
    if by_skill:
        hits += _skill_hits(text, breaks, wanted, offers)
    scores: dict[str, float] = {}
    for hit in hits:
        scores[hit.worker] = scores.get(hit.worker, 0.0) + hit.weight
    ordered = dict(sorted(scores.items(), key=lambda each: -each[1]))
    return Ruling(hits=tuple(hits), scores=ordered, intents=intents_in(hits, ordered, text))


def normalised(message: str) -> str:
    """In lower case, with single spaces: the same request however it was typed."""
    return _spaced(message).casefold()


def overlaps(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Where rules of different workers fight over the same requests, in words, by the rules' own numbers."""
    said: list[str] = []
    for index, one in enumerate(rules):
        for other in rules[index + 1 :]:
            if one.worker == other.worker or one.when != other.when:
                continue
            if shared := _shared(one, other):
                said.append(
                    f"rules {one.number} ({one.worker or one.skill}) and {other.number} ({other.worker or other.skill})"
                    f" both hold for {shared}"
                )
    return tuple(said)


def _spaced(message: str) -> str:
    # Line breaks stay: they part wishes.
    lines = (_SPACES.sub(" ", line).strip() for line in message.splitlines())
    return "\n".join(line for line in lines if line)


def _shared(one: Rule, other: Rule) -> str:
    """What both rules hold for; empty where nothing is seen to be."""
    if not one.about_words and not other.about_words and one.when is not None:
        return "the same condition"
    for mine, theirs in ((one, other), (other, one)):
        for word in mine.keywords:
            sample = word.removesuffix("*")
            if any(_found(keyword, sample) for keyword in theirs.keywords):
                return repr(word)
            if theirs.regex is not None and theirs.regex.search(sample):
                return repr(word)
    if one.regex is not None and other.regex is not None and one.regex.pattern == other.regex.pattern:
        return f"the regex {one.regex.pattern!r}"
    return ""


def _rule(number: int, entry: JsonObject) -> Rule:
    where: JsonObject = {"setting": f"router.rules[{number}]"}
    skill = json_text(entry.get("skill")).casefold()
    try:
        when = condition_from(text) if (text := json_text(entry.get("when"))) else None
        rule = Rule(
            number=number,
            worker="" if skill else target_in(entry),
            skill=skill,
            keywords=tuple(normalised(each) for each in texts(entry.get("keywords"))),
            regex=bounded(text) if (text := json_text(entry.get("regex"))) else None,
            when=when,
            weight=number_or(entry, "weight", 1.0),
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"rule {number}: {error.message}", detail=where) from error
    if not rule.about_words and rule.when is None and not skill:
        raise InvalidRequest(f"rule {number} says nothing: give keywords, regex, when or skill", detail=where)
    if any(not each.strip("* ") for each in rule.keywords):
        raise InvalidRequest(f"rule {number} has an empty keyword, which is in every message", detail=where)
    if when is not None and {*named_in(when.reference)} != {TASK}:
        raise InvalidRequest(f"rule {number}: a condition is about $task, {when.reference} is not", detail=where)
    return rule


def _hits(
    rule: Rule, text: str, breaks: list[int], known: Mapping[str, Json], wanted: str, offers: Mapping[str, Offer]
) -> Iterable[Hit]:
    worker = rule.worker or _holder(rule.skill, offers)
    if not worker or (rule.when is not None and not rule.when.holds(known)):
        return
    if rule.about_words:
        found = [(f"keyword {word}", at) for word in rule.keywords for at in _found(word, text)[:1]]
        if rule.regex is not None:
            found += [("regex", at) for at in found_in(rule.regex, text)]
        once: dict[tuple[str, int], None] = dict.fromkeys((by, part_of(at, breaks)) for by, at in found)
        for by, part in once:
            yield Hit(worker=worker, rule=rule.number, by=by, weight=rule.weight, part=part)
    elif rule.when is not None or wanted == rule.skill:
        by = "when" if rule.when is not None else f"skill {rule.skill}"
        yield Hit(worker=worker, rule=rule.number, by=by, weight=rule.weight)


def _holder(skill: str, offers: Mapping[str, Offer]) -> str:
    """Who declares the skill; the least busy of several."""
    holders = [each for each in offers.values() if each.found and skill in each.skills]
    return min(holders, key=lambda each: each.busy).target if holders else ""


def _skill_hits(text: str, breaks: list[int], wanted: str, offers: Mapping[str, Offer]) -> Iterable[Hit]:
    for offer in offers.values():
        if wanted and wanted in offer.skills:
            yield Hit(worker=offer.target, rule=-1, by=f"skill {wanted}", weight=1.0)
        for skill in sorted(offer.skills):
            for at in _found(skill, text)[:1]:
                part = part_of(at, breaks)
                yield Hit(worker=offer.target, rule=-1, by=f"skill {skill}", weight=SKILL_WEIGHT, part=part)


def _found(keyword: str, text: str) -> list[int]:
    """Where the word or phrase stands by itself; with `*` at its end, also where a longer word begins with it."""
    stem = keyword.removesuffix("*")
    behind = "" if stem != keyword else r"(?!\w)"
    return [match.start() for match in re.finditer(rf"(?<!\w){re.escape(stem)}{behind}", text, re.IGNORECASE)]
