"""The narrow handle a pattern works with.

A pattern sees `Task`, `Steps` and plain values, and nothing else: no engine, no protocol, no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, Protocol

from gateway.core.fields import TakenOut
from gateway.core.json import Json, JsonObject
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import Budget, Usage
from gateway.core.model import Phase
from gateway.core.ports.scratchpad import Scratchpad
from gateway.core.task import Task

StepError = Literal[
    "",
    "failed",
    "timeout",
    "deadline",
    "denied",
    "skipped",
    "budget",
    "schema",
    "unavailable",
    "conflict",
    "in_doubt",
    "canceled",
    "input_required",
]

Handing = Literal["whole", "asked", "summary"]
"""How results are handed over that are longer than the workflow's `handover_bytes`: whole; with a summary and the names
of their fields in place of the value, to whoever can ask for the rest; or so to everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What became of a step; a value, never an exception, the same live and on replay."""

    id: str
    """Path of the step, `RUN/2/refund`."""
    target: str
    ok: bool
    phase: Phase = ""
    value: Json = None
    """Structured output, or text where there is none."""
    text: str = ""
    summary: str = ""
    """The agent's own short account, 50-100 tokens; else the beginning of its text."""
    error: StepError = ""
    reason: str = ""
    """For people: why it failed."""
    usage: Usage = Usage()
    labels: Labels = CLEAN
    writes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Scratchpad writes the agent returned."""
    reads: Mapping[str, int] = field(default_factory=dict[str, int])
    """Scratchpad keys handed to it, with the version it saw; 0 where there was none."""
    recalled: tuple[str, ...] = ()
    """Ids of the memory's entries handed to it."""
    commits: bool = True
    """False where the agent proposed and says that nothing is to be committed."""
    said: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Whatever else the agent said about its answer in the member `drawbridge`: a hand-off, a bid, tasks, findings."""
    quality: str = ""
    """For people: what makes this answer less than was asked for (a stale copy, a smaller agent); empty for nothing."""
    attempts: int = 0
    """How often it was tried, over all rounds; 0 where it never began."""
    remote_task: str = ""
    """What the agent or the nested run calls the work; empty where it named no task."""
    record_id: str = ""
    """Audit record of the call, where the path told it."""
    started_at_us: int = 0
    duration_us: int = 0
    within: str = ""
    """Where in what was recorded the value stands, as a JSON Pointer: it answers for one of several."""
    taken_out: tuple[TakenOut, ...] = ()
    """What was recorded and is not to be seen: the value is without it."""
    taken_over: bool = False
    """Another run did it, from which this one was made."""

    @property
    def because(self) -> str:
        """Why it failed: what was said of it, else the kind of error."""
        return self.reason or self.error

    @property
    def answer(self) -> Json:
        """The value; of a workflow its answer alone, without what a run says about itself."""
        of_run = self.target.startswith("workflow:") and isinstance(self.value, dict) and "answer" in self.value
        return self.value["answer"] if of_run and isinstance(self.value, dict) else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """What a step's target is told of the original task."""

    message: str = ""
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step, as data: what to call, with what, after which others."""

    target: str
    """Capability name: `agent:refunds`, `tool:orders/find`, `workflow:help`."""
    input: Json
    name: str = ""
    """What people know the step by; empty for its target's name. Shown, and nothing else."""
    labels: Labels = CLEAN
    """Of the input; those of the original task, of `given` and of what is read are added by themselves."""
    whole: bool = True
    """It is handed the data of the original task beside its input; not where its input is them, or its part of them."""
    tells: bool = False
    """A tool is given, beside its input, what others learn anyway: `request` and `data` of the original task, `results`
    and `scratchpad`, as far as its schema takes them. For what is not called with arguments somebody chose."""
    after: tuple[str, ...] = ()
    """Ids of nodes of the same graph whose results this one is given, under `results` beside its input."""
    given: Mapping[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Earlier results handed over in the same way, by the name under which they appear."""
    handing: Handing = "whole"
    """How long ones of these results are handed over."""
    sealed: bool = False
    """These results are shown in part, and the rest cannot be asked for either."""
    timeout_s: float | None = None
    """For the whole step, retries included; None for what the workflow's limits say."""
    tokens: int | None = None
    """What is left for this step of a share of its own; whoever can be held to it is."""
    cost_usd: Decimal | None = None
    """Likewise."""
    phase: Phase = ""
    task: TaskView | None = None
    """What it is told of the original task; None for all of it."""
    instead: str = ""
    """Capability name of whoever is asked where its target fails, as another attempt; of `Steps.call` only."""
    notice: str = ""
    """Said in the run's answer where that one answered."""
    reads: tuple[str, ...] = ()
    """Scratchpad keys handed to it."""
    publishes: bool = False
    """What the agent returns as scratchpad writes is written as soon as it ends, each key against the version it saw;
    a step overtaken by another is a `conflict`. Without this the pattern does what it wants with `writes`."""
    input_schema: Mapping[str, Json] | None = None
    output_schema: Mapping[str, Json] | None = None
    optional: bool = False
    """Dependants run even when this one failed."""
    note: str = ""
    """Said to the agent beside its input: why it is asked again, what to do differently. No part of the input: the
    same work with another note is the same work."""
    part: str = ""
    """Name under which whoever watches the run is shown the result as soon as it is there; empty for not at all."""
    claims: tuple[str, ...] = ()
    """Outside resources (`account:4711`) claimed for the run before the step begins, until the run ends; a step that
    waits for one in vain is a `conflict`."""
    last: bool = False
    """Words the answer: may spend the share of the run's budget that is kept back for that."""
    again: str = ""
    """Id of the step of which this is another attempt: the same step towards effects and in the run tree, so that what
    an earlier attempt brought about is not brought about twice."""
    undoes: str = ""
    """Why it makes undone what another step has done; empty where it does not. It has an allowance of its own: neither
    a used-up budget nor a time that is over, nor that the run was canceled, keeps it from being done."""
    lacks: str = ""
    """What its input should have and has not: it is not called, and fails for that. Empty for nothing."""


Whose = Literal["workflow", "caller"]
"""Whose a note is: every caller's of the workflow in the tenant, or only of whoever started the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a run keeps for later runs of its workflow. Names and numbers: never what an agent said, for it has no
    labels."""

    topic: str
    """What it is about: `route`, `conversation`, `tier`."""
    key: str
    value: Json
    id: str = ""
    """Notes of one topic and key stand side by side as far as their ids differ; the same id replaces."""
    whose: Whose = "workflow"
    ttl_s: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something only a person can answer."""

    prompt: str
    schema: Mapping[str, Json] | None = None
    role: str = ""
    """Who is to answer: a person with this role; empty for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    given: bool
    """False when the time to answer ran out."""
    value: Json = None
    labels: Labels = CLEAN
    """Of the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a target is good for, by its card and its tags; its own word, and nobody else's."""

    target: str
    found: bool
    """False where nothing of this name can be called now."""
    title: str = ""
    description: str = ""
    skills: frozenset[str] = frozenset()
    """Ids and tags of its skills, and the tags it has in the configuration, in lower case."""
    busy: int = 0
    """Steps an agent has under way, of all runs of the tenant."""


class Steps(Protocol):
    """All a pattern sees. To be used from the pattern's own task only; use from another is refused, because step
    identity is the order in which steps are drawn."""

    @property
    def budget(self) -> Budget: ...

    @property
    def spent(self) -> Usage:
        """Derived from recorded results, so the same on replay."""
        ...

    @property
    def scratchpad(self) -> Scratchpad: ...

    async def call(self, node: Node) -> StepResult:
        """Run one step. `after` does not count."""
        ...

    async def graph(
        self, nodes: Mapping[str, Node], *, limit: int, deadline_s: float | None = None
    ) -> Mapping[str, StepResult]:
        """Run a task graph: at most `limit` at once, partial results, dependants of a failed node skipped.

        Raises: InvalidRequest: a cycle, an unknown dependency, or a node id that is not `[A-Za-z0-9_-]{1,40}`.
        """
        ...

    async def run(self, workflow: str, input: Json) -> StepResult:
        """Run another workflow as one step, on a smaller budget."""
        ...

    async def begin(self, name: str, node: Node) -> None:
        """Start a step and go on; `after` does not count. What has not ended with the run is dropped.

        Raises: InvalidRequest: a step of this name is under way, or the name is none.
        """
        ...

    async def finished(self, *, timeout_s: float | None = None) -> tuple[str, StepResult] | None:
        """The next of the begun steps to end, under its name; None when none is under way, or time is up on the run's
        clock, see `now`. Which one it was is journaled: it is the same on replay."""
        ...

    async def drop(self, name: str, *, reason: str) -> StepResult:
        """Stop a begun step; whoever works on it is told. `canceled`, or its own result where it had ended before.

        Raises: InvalidRequest: no step of this name is under way.
        """
        ...

    async def offers(self, targets: Sequence[str]) -> Mapping[str, Offer]:
        """What each of the targets is good for at this moment; journaled."""
        ...

    async def ask(self, question: Question, *, timeout_s: float) -> Answer: ...

    async def emit(self, event: str, detail: Mapping[str, Json], *, text: str = "") -> None:
        """Tell whoever watches the run."""
        ...

    async def decided(self, what: str, chosen: Json, *, because: str, detail: Mapping[str, Json] | None = None) -> None:
        """Keep a decision (`route`, `verdict`, `retry`, `drop`), what was chosen, and why; runs are explained by them.
        `detail`: the features and scores that drove it."""
        ...

    async def part(self, name: str, value: Json, *, text: str = "") -> None:
        """Show whoever watches the run a finished part of the answer, once per name."""
        ...

    def compensate(
        self,
        target: str,
        input: Json,
        *,
        labels: Labels = CLEAN,
        because: str = "",
        task: TaskView | None = None,
        lacks: str = "",
    ) -> None:
        """Should the run fail or be canceled, call this; last registered first. `labels`: of the input. `because`: why
        it has to be undone, where it is not only that. `task`, `lacks`: see `Node`."""
        ...

    def undoable(self) -> None:
        """From now on what steps do can be undone, although nothing is registered yet: should the run be canceled, its
        steps end as `canceled`, the pattern goes on to its end, and what it has registered by then is undone."""
        ...

    async def note(self, note: Note) -> None:
        """Keep something for later runs of this workflow, until its time is over. `value` None: forget it."""
        ...

    async def recall(self, topic: str, key: str, *, whose: Whose = "workflow", limit: int = 1) -> tuple[Json, ...]:
        """Values noted under the topic and key, newest first, journaled."""
        ...

    async def now(self) -> float:
        """UTC seconds since 1970, less those for which the run's clock stood still: while it was paused, and, of a run
        that goes on from a step of another, since that step had begun. Journaled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something the answer lacks."""

    step: str
    """Name of the step within the pattern."""
    target: str
    error: StepError
    reason: str

    @property
    def because(self) -> str:
        """Why it is lacking: what was said of it, else the kind of error."""
        return self.reason or self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pattern ends with. Partial success is an answer with gaps; a run that failed has its partial too."""

    text: str
    """The answer, for people."""
    value: Json = None
    """The answer, for machines; None where the text is all there is."""
    gaps: tuple[Gap, ...] = ()
    error: str = ""
    """Why the run failed; empty where it did not."""
    notices: tuple[str, ...] = ()
    """What makes the answer less than was asked for: who stood in for whom, what is stale."""
    confidence: float | None = None
    """0 to 1, where the pattern can say."""
    why: JsonObject = field(default_factory=dict[str, Json])
    """How the answer came about, for machines."""


class Pattern(Protocol):
    """A strategy: deterministic given what `Steps` returns."""

    async def run(self, task: Task, steps: Steps) -> Outcome:
        """Raises: GatewayError: the run failed and there is not even a partial answer."""
        ...


class PatternType(Protocol):
    """What the entry points `gateway.patterns` name."""

    def __call__(self, settings: JsonObject, /) -> Pattern:
        """A pattern set up from its workflow's settings. Raises: InvalidRequest: they make no sense together."""
        ...
