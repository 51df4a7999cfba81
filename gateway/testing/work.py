"""One step's work in virtual time: begun at one moment, over at another, both known at once. Knows no pattern."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.core.contracts import violation
from gateway.core.errors import Conflict
from gateway.core.labels import CLEAN, Labels, join_all
from gateway.core.limits import Usage
from gateway.core.ports.orchestration import Node, Offer, StepResult
from gateway.core.ports.scratchpad import Entry
from gateway.orchestration.records.promised import promised
from gateway.testing.agents import Agent, Asked, Reply
from gateway.testing.memory_scratchpad import MemoryScratchpad


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One step to be done."""

    id: str
    name: str
    node: Node
    first_attempt: int
    until_s: float
    """Virtual time at which the run, or the graph it is part of, ends."""
    results: Mapping[str, StepResult]
    """Handed to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A step under way."""

    job: Job
    ends_s: float
    result: StepResult
    """As it will be, if nothing stops it."""


class Workshop:
    """Where scripted agents work."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        scratchpad: MemoryScratchpad,
        *,
        task: str,
        labels: Labels = CLEAN,
        timeout_s: float,
        retries: int,
        skills: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        """`labels` are those of the task; `retries`: how often a step is tried again that never reached its target."""
        self._skills = skills or {}
        self._agents = agents
        self._scratchpad = scratchpad
        self._task = task
        self._labels = labels
        self._timeout_s = timeout_s
        self._retries = retries
        self.asked: list[Asked] = []
        """Every attempt, in order."""

    def start(self, job: Job, at_s: float) -> Started:
        """Begin the work at `at_s`."""
        node = job.node
        begun = StepResult(
            id=job.id, target=node.target, ok=False, phase=node.phase, attempts=job.first_attempt - 1,
            started_at_us=int(at_s * 1e6),
        )  # fmt: skip
        refused = self._refused(job, begun, at_s)
        if refused is not None:
            return Started(job=job, ends_s=at_s, result=refused)
        read = {key: entry for key in node.reads if (entry := self._scratchpad.entries.get(key)) is not None}
        handed = (each.labels for each in job.results.values())
        seen = (each.labels for each in read.values())
        begun = replace(
            begun,
            reads={key: read[key].version if key in read else 0 for key in node.reads},
            labels=join_all((self._labels, node.labels, *handed, *seen)),
        )
        result, ends_s = self._tried(job, begun, read, at_s)
        result = replace(result, duration_us=int((ends_s - at_s) * 1e6) if ends_s < float("inf") else 0)
        return Started(job=job, ends_s=ends_s, result=result)

    def timeout_s(self, node: Node) -> float:
        """Longest the step may take."""
        return self._timeout_s if node.timeout_s is None else node.timeout_s

    def offer(self, target: str) -> Offer:
        """See `Steps.offers`."""
        return Offer(target=target, found=target in self._agents, skills=self._skills.get(target, frozenset()))

    def end(self, started: Started) -> StepResult:
        """The work is over: what it publishes is published now."""
        node, result = started.job.node, started.result
        if result.ok and node.output_schema:
            result = promised(node.output_schema, result)
        if not result.ok or not node.publishes:
            return result
        try:
            for key, value in result.writes.items():
                entry = Entry(key=key, value=value, version=0, writer=result.id, labels=result.labels)
                self._scratchpad.written(entry, expected_version=self._expected(key, started))
        except Conflict as error:
            return replace(result, ok=False, error="conflict", reason=error.message)
        return result

    def _expected(self, key: str, started: Started) -> int | None:
        if started.job.node.phase == "commit":
            return None
        return started.result.reads.get(key)

    def _refused(self, job: Job, begun: StepResult, at_s: float) -> StepResult | None:
        node = job.node
        if job.until_s <= at_s:
            return replace(begun, error="deadline", reason="time was up before this step began")
        if node.lacks:
            return replace(begun, error="schema", reason=f"it was not called: {node.lacks}")
        if node.input_schema and (broken := violation(node.input_schema, node.input)):
            return replace(begun, error="schema", reason=f"what it would be given breaks its contract: {broken}")
        taken = [each for each in node.claims if not self._scratchpad.claims(each)]
        if taken:
            reason = f"{taken[0]} is claimed by another run, and was until time was up"
            return replace(begun, error="conflict", reason=reason)
        return None

    def _tried(self, job: Job, begun: StepResult, read: Mapping[str, Entry], at_s: float) -> tuple[StepResult, float]:
        node = job.node
        until_s = min(job.until_s, at_s + self.timeout_s(node))
        result = begun
        for tries_left in range(self._retries, -1, -1):
            begun = replace(begun, attempts=begun.attempts + 1, usage=begun.usage + Usage(calls=1))
            reply = self._reply(job, begun, read)
            if at_s + reply.takes_s > until_s:
                late = "deadline" if until_s >= job.until_s else "timeout"
                return replace(begun, error=late, reason=f"{node.target} did not answer in time"), until_s
            at_s += reply.takes_s
            result = _answered(begun, reply)
            if result.error != "unavailable" or not tries_left:
                break
        return result, at_s

    def _reply(self, job: Job, begun: StepResult, read: Mapping[str, Entry]) -> Reply:
        node = job.node
        asked = Asked(
            target=node.target,
            input=node.input,
            task=self._task,
            phase=node.phase,
            note=node.note,
            results=job.results,
            scratchpad=read,
            step_id=job.id,
            attempt=begun.attempts,
        )
        self.asked.append(asked)
        agent = self._agents.get(node.target)
        if agent is None:
            return Reply(error="failed", reason=f"there is nothing called {node.target}")
        return agent(asked)


def _answered(begun: StepResult, reply: Reply) -> StepResult:
    text = reply.text or (reply.value if isinstance(reply.value, str) else "")
    return replace(
        begun,
        ok=not reply.error,
        value=reply.value,
        text=text,
        summary=reply.summary or text[:400],
        error=reply.error,
        reason=reply.reason,
        usage=begun.usage + reply.usage,
        labels=begun.labels.join(reply.labels),
        writes=reply.writes,
        commits=reply.commits,
        quality=reply.quality,
        said=reply.said,
    )
