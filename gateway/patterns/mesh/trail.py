"""The trail of one request through a mesh: who had it, what they said, what stopped it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Gap, StepError, StepResult
from gateway.patterns.mesh.handoff import Handoff
from gateway.patterns.shared.loops import Requests, round_trip
from gateway.patterns.shared.settings import slug_of

NO_CONFIDENCE = 0.5
"""An answer that does not say how sure it is counts as this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopRequest:
    """What is asked at one hop."""

    input: JsonObject
    handoff: Handoff
    """Where it is to go."""
    asker: str = ""
    """Capability name of whoever handed it on; empty for the caller."""
    labels: Labels = CLEAN
    failed: tuple[str, ...] = ()
    """Peers that could not do it."""


@dataclass(slots=True, kw_only=True)
class Trail:
    alike_from: float
    hops: int = 0
    """How often it was handed on."""
    path: list[str] = field(default_factory=list[str])
    """Who was asked, in order."""
    answers: list[StepResult] = field(default_factory=list[StepResult])
    gaps: list[Gap] = field(default_factory=list[Gap])
    notices: list[str] = field(default_factory=list[str])
    final: StepResult | None = None
    """The answer of whoever did not hand on."""
    stopped: str = ""
    """What ended it without that: `hops`, `loop`, `nobody`, `failed`, `handoff`, `budget`, `deadline`."""
    because: str = ""
    error: str = ""
    """Why the run failed."""
    _requests: Requests | None = None

    @property
    def asked_before(self) -> Requests:
        if self._requests is None:
            self._requests = Requests(alike_from=self.alike_from)
        return self._requests

    @property
    def part(self) -> str:
        """Name of the latest hop, `2-network`."""
        return f"{len(self.path)}-{slug_of(self.path[-1])}"

    @property
    def said(self) -> tuple[Mapping[str, StepResult], Mapping[str, StepResult]]:
        """What everybody found out but the latest, and the latest."""
        named = {f"{number}-{slug_of(each.target)}": each for number, each in enumerate(self.answers, 1)}
        latest = dict([named.popitem()]) if named else {}
        return named, latest

    def asked(self, target: str, request: HopRequest) -> None:
        self.path.append(target)
        self.asked_before.note(target, request.input)

    def answered(self, result: StepResult, *, final: bool) -> None:
        self.answers.append(result)
        if final:
            self.final = result

    def handed_on(self, asker: str, request: HopRequest, handoff: Handoff, labels: Labels) -> HopRequest:
        """The request as the next peer gets it; `labels` are those of whoever hands on."""
        self.hops += 1
        return HopRequest(
            input=request.input if handoff.input is None else handoff.input,
            handoff=handoff,
            asker=asker,
            labels=request.labels.join(labels),
        )

    def circle(self, target: str, request: HopRequest) -> str:
        """Why the request would go round in circles at this peer; empty where it does not."""
        slug = slug_of(target)
        repeat = self.asked_before.repeated(target, request.input)
        if repeat is not None:
            alike = "the same" if repeat.similarity == 1 else f"nearly the same ({repeat.similarity:.2f})"
            return f"{slug} was asked {alike} before, as number {repeat.number + 1}"
        trip = round_trip([*self.path, target])
        return f"{' and '.join(map(slug_of, trip))} have handed it to each other twice" if trip else ""

    def stop(self, stopped: str, because: str, request: HopRequest | None = None) -> None:
        """The request goes no further; `request` is what stays undone."""
        self.stopped, self.because = stopped, because
        if request is not None:
            error: StepError = "skipped"
            self.gaps.append(Gap(step=f"hop-{self.hops}", target=request.handoff.wanted, error=error, reason=because))

    @property
    def best(self) -> StepResult | None:
        """The answer; else of all that was said what was said with most confidence, the latest of equals."""
        if self.final is not None:
            return self.final
        numbered = enumerate(self.answers)
        found = max(numbered, key=lambda each: (_confidence(each[1]), each[0]), default=None)
        return None if found is None else found[1]

    @property
    def confidence(self) -> float | None:
        """Of the best answer, where it says so."""
        best = self.best
        return None if best is None or best.said.get("confidence") is None else _confidence(best)

    @property
    def path_json(self) -> list[Json]:
        return [slug_of(target) for target in self.path]

    @property
    def why(self) -> JsonObject:
        # The last hand-over was refused where there were too many.
        hops = self.hops - (self.stopped == "hops")
        return {"path": self.path_json, "hops": hops, "stopped": self.stopped, "because": self.because}


def _confidence(result: StepResult) -> float:
    said = result.said.get("confidence")
    if isinstance(said, bool) or not isinstance(said, int | float):
        return NO_CONFIDENCE
    # Bounded first: JSON has whole numbers that no float can hold.
    return float(min(1, max(0, said)))
