"""Where a request goes: rules, then what was decided for the same request before, then a classifier, then whoever takes
what nobody is sure about, then a person. Decides, and calls no worker."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Note, Offer, Question, Steps
from gateway.patterns.router.classifying import RoutedRequest, verdict_on
from gateway.patterns.router.kept import kept_of, verdict_kept
from gateway.patterns.router.rules import Rule, Ruling, judged, normalised, rules_in
from gateway.patterns.router.verdicts import WORDS, RoutingVerdict, worker_named
from gateway.patterns.shared.failures import ask_timeout_s_in
from gateway.patterns.shared.loops import digest
from gateway.patterns.shared.roles import Role, role_in
from gateway.patterns.shared.settings import number_or, slug_of, target_in, workers_in
from gateway.patterns.shared.wishes import Intent

ROUTE = "route"
"""Topic of the notes that are the cache."""
CALLER = "caller"
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes, who says so, and how sure that is."""

    worker: str
    """Capability name; empty where nobody is to have it."""
    by: str
    """`rules`, `cache`, `classifier`, `otherwise`, `person`, `conversation`, `hand_off`; empty for nobody."""
    confidence: float
    because: str
    """For people."""
    intents: tuple[Intent, ...] = ()
    """Where there are several: each wish and whose it is, the strongest one's included."""
    labels: Labels = CLEAN
    """Of the words of the intents."""
    features: JsonObject = field(default_factory=dict[str, Json])

    @property
    def workers(self) -> tuple[str, ...]:
        """Everybody the request belongs to."""
        return tuple(dict.fromkeys(each.worker for each in self.intents)) or ((self.worker,) if self.worker else ())

    def to_json(self) -> JsonObject:
        """As the answer shows it."""
        shown: JsonObject = {"worker": slug_of(self.worker), "by": self.by, "confidence": round(self.confidence, 3)}
        if len(self.workers) > 1:
            shown["workers"] = [*map(slug_of, self.workers)]
        return {**shown, "because": self.because}


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How requests are routed, by the settings of one workflow."""

    workers: tuple[str, ...]
    rules: tuple[Rule, ...]
    by_skill: bool
    threshold: float
    classifier: Role | None
    otherwise: str
    person: str
    ask_timeout_s: float
    cache_ttl_s: float
    version: str
    """Changes with everything a decision depends on."""

    @classmethod
    def of(cls, settings: JsonObject) -> "Routing":
        """Raises: InvalidRequest: nothing could ever be routed, or a rule makes no sense."""
        block = json_object(settings.get("router"))
        rules = rules_in(block)
        otherwise = target_in(json_object(block.get("otherwise"))) if block.get("otherwise") else ""
        named = (*workers_in(settings), *(each.worker for each in rules if each.worker), otherwise)
        workers = tuple(dict.fromkeys(each for each in named if each))
        classifier = role_in(settings, "classifier", (WORDS,))
        by_skill = block.get("by_skill") is True
        if not workers:
            raise InvalidRequest("the pattern router needs workers", detail={"setting": "agents"})
        if not (rules or classifier or by_skill or otherwise or block.get("person")):
            raise InvalidRequest(
                "nothing says where requests go: give rules, a classifier, by_skill or otherwise",
                detail={"setting": "router"},
            )
        decisive: JsonObject = {"router": block, "workers": [*workers], "classifier": settings.get("classifier")}
        return cls(
            workers=workers,
            rules=rules,
            by_skill=by_skill,
            threshold=number_or(block, "threshold", 0.6),
            classifier=classifier,
            otherwise=otherwise,
            person=json_text(block.get("person")),
            ask_timeout_s=number_or(block, "ask_timeout_s", ask_timeout_s_in(json_object(settings.get("limits")))),
            cache_ttl_s=number_or(block, "cache_ttl_s", DAY_S),
            version=digest(decisive),
        )

    @property
    def unreached(self) -> tuple[str, ...]:
        """Workers to whom nothing ever sends a request: only rules decide, and none names them."""
        if self.classifier or self.by_skill or self.person or any(rule.skill for rule in self.rules):
            return ()
        named = {self.otherwise, *(rule.worker for rule in self.rules)}
        return tuple(each for each in self.workers if each not in named)

    @property
    def least_calls(self) -> int:
        """Calls a request takes at least: its worker's, and the classifier's where nothing is asked before that."""
        asks = self.classifier is not None and bool(self.classifier.target)
        return 2 if asks and not self.rules and not self.by_skill else 1

    @property
    def needs_offers(self) -> bool:
        """Whether rules depend on what workers declare."""
        return self.by_skill or any(rule.skill for rule in self.rules)

    def ruled(
        self, request: RoutedRequest, offers: Sequence[Offer] = (), without: frozenset[str] = frozenset()
    ) -> Ruling:
        """What the rules say; of skills only what `offers` tells."""
        known = {each.target: each for each in offers if each.target not in without}
        rules = [each for each in self.rules if each.worker not in without]
        return judged(rules, request.message, request.data, known, by_skill=self.by_skill)

    def decided_by_rules(self, ruling: Ruling) -> Route | None:
        """The route, where the rules are sure enough of one."""
        features: JsonObject = {
            "rules": [each.to_json() for each in ruling.hits],
            "scores": {slug_of(worker): score for worker, score in ruling.scores.items()},
        }
        reasons = ", ".join(dict.fromkeys(f"{each.by} (rule {each.rule})" for each in ruling.hits if each.rule >= 0))
        reasons = reasons or ", ".join(dict.fromkeys(each.by for each in ruling.hits))
        if ruling.intents:
            names = ", ".join(dict.fromkeys(slug_of(each.worker) for each in ruling.intents))
            because = f"several wishes, of {names}: {reasons}"
        elif ruling.share >= self.threshold:
            because = reasons
        else:
            return None
        return Route(
            worker=ruling.strongest,
            by="rules",
            confidence=1.0 if ruling.intents else ruling.share,
            because=because,
            intents=ruling.intents,
            features=features,
        )

    async def route(self, request: RoutedRequest, steps: Steps, without: frozenset[str] = frozenset()) -> Route:
        """Where the request goes, not counting those `without` whom it is to be done."""
        candidates = tuple(each for each in self.workers if each not in without)
        offers: Sequence[Offer] = ()
        if self.needs_offers:
            offers = tuple((await steps.offers(candidates)).values())
        ruling = self.ruled(request, offers, without)
        found = self.decided_by_rules(ruling)
        if found is not None:
            return found
        unsure = "no rule holds" if not ruling.hits else f"the rules are split ({ruling.share:.0%})"
        if self.classifier is not None and candidates:
            classified = await self._classified(request, steps, candidates, ruling, cached=not without)
            if classified.worker:
                return classified
            unsure += f"; {classified.because}"
        if self.otherwise and self.otherwise not in without:
            return Route(worker=self.otherwise, by="otherwise", confidence=0.0, because=unsure)
        return await self._asked(request, steps, candidates, unsure)

    async def _classified(
        self, request: RoutedRequest, steps: Steps, candidates: Sequence[str], ruling: Ruling, *, cached: bool
    ) -> Route:
        """The classifier's route, or why there is none."""
        role = self.classifier
        if role is None:
            raise AssertionError("unreachable: asked only where there is one")
        key = digest({"message": normalised(request.message), "data": request.data, "version": self.version})
        keeps = cached and self.cache_ttl_s > 0
        known = json_object(next(iter(await steps.recall(ROUTE, key)), None)) if keeps else {}
        if before := verdict_kept(known, request.message, candidates):
            return _route_of(before, "cache", because="the classifier said so of the same request before")
        said = await verdict_on(role, request, steps, candidates, ruling)
        if isinstance(said, str):
            return Route(worker="", by="", confidence=0.0, because=said)
        verdict, labels = said
        if not verdict.worker and not verdict.intents:
            return Route(worker="", by="", confidence=verdict.confidence, because="the classifier knows nobody for it")
        if verdict.confidence < self.threshold:
            because = f"the classifier is not sure of {slug_of(verdict.worker) or 'anybody'} ({verdict.confidence:.2f})"
            return Route(worker="", by="", confidence=verdict.confidence, because=because)
        value = kept_of(verdict, request.message) if keeps else None
        if value is not None:
            await steps.note(Note(topic=ROUTE, key=key, value=value, ttl_s=self.cache_ttl_s))
        because = f"the classifier says so ({verdict.confidence:.2f})"
        return replace(_route_of(verdict, "classifier", because=because), labels=labels)

    async def _asked(self, request: RoutedRequest, steps: Steps, candidates: Sequence[str], unsure: str) -> Route:
        """What a person says, where there is one to ask."""
        nobody = Route(worker="", by="", confidence=0.0, because=unsure)
        if not self.person or not candidates:
            return nobody
        names: list[Json] = [*map(slug_of, candidates)]
        question = Question(
            prompt=f"Nothing says whose this is ({unsure}): {request.message}\nIs it for {', '.join(map(str, names))}?",
            schema={"type": "object", "properties": {"worker": {"enum": names}}, "required": ["worker"]},
            role="" if self.person == CALLER else self.person,
        )
        answer = await steps.ask(question, timeout_s=self.ask_timeout_s)
        if not answer.given:
            return replace(nobody, because=f"{unsure}; nobody answered in time")
        try:
            worker = worker_named(_choice_in(answer.value), candidates)
        except InvalidRequest as error:
            return replace(nobody, because=f"{unsure}; of the person's answer: {error.message}")
        if not worker:
            return replace(nobody, because=f"{unsure}; a person knows nobody for it either")
        return Route(worker=worker, by="person", confidence=1.0, because=f"a person says so ({unsure})")


def _route_of(verdict: RoutingVerdict, by: str, *, because: str) -> Route:
    return Route(
        worker=verdict.worker or verdict.intents[0].worker,
        by=by,
        confidence=verdict.confidence,
        because=because,
        intents=verdict.intents,
    )


def _choice_in(value: Json) -> Json:
    """The worker's name in what a person said: the caller in words, somebody with a role as an approval's value."""
    fields = json_object(value)
    if "approved" in fields:
        value = fields.get("value") if fields["approved"] is True else None
        fields = json_object(value)
    return fields.get("worker", fields.get("message", value))
