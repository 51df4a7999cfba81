"""What an event-driven run found out so far, kept on the scratchpad where every worker is handed it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.contracts import violation
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import StepResult, Steps
from gateway.patterns.shared.settings import contract, slug_of, texts

PREFIX = "finding."
"""What the scratchpad's keys of findings begin with."""

MOST_IN_ALL = 500


@dataclass(slots=True, kw_only=True)
class Findings:
    """The latest under each name. Whoever finds out better replaces what stands there, and that is told."""

    rules: Mapping[str, Json]
    """Of the scratchpad's keys: `schema`, `writers`, `readers`."""
    values: dict[str, Json] = field(default_factory=dict[str, Json])
    by: dict[str, StepResult] = field(default_factory=dict[str, StepResult])
    """Whose result each is of."""
    kept: int = 0
    """Findings so far, replaced ones included."""
    news: int = 0
    """Findings since the goal was checked last."""
    replaced: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, settings: JsonObject) -> "Findings":
        return cls(rules=json_object(settings.get("scratchpad")))

    def readable_by(self, target: str) -> tuple[str, ...]:
        """The scratchpad's keys this worker is handed."""
        return tuple(key for name in self.values if self._may(key := f"{PREFIX}{name}", "readers", target))

    async def keep(self, findings: Mapping[str, Json], result: StepResult, steps: Steps) -> None:
        """Write down what is new; what breaks a key's rules is refused, and that is told."""
        for name, value in findings.items():
            key = f"{PREFIX}{name}"
            if name in self.values and self.values[name] == value:
                continue
            full = name not in self.values and len(self.values) >= MOST_IN_ALL
            problem = "there are enough findings" if full else self._problem(key, value, result.target)
            if problem:
                await steps.decided("refused", name, because=problem, detail={"target": result.target})
                continue
            await steps.scratchpad.put(key, value, expected_version=None, writer=result.id, labels=result.labels)
            if name in self.values:
                self.replaced.append(name)
                await steps.decided("replaced", name, because=f"{slug_of(result.target)} found out otherwise")
            else:
                await steps.part(f"finding-{name}", value, text=result.summary)
            self.values[name], self.by[name] = value, result
            self.kept += 1
            self.news += 1

    def is_open(self, name: str) -> bool:
        """Whether every worker may read it."""
        return not texts(json_object(self.rules.get(f"{PREFIX}{name}")).get("readers"))

    def _problem(self, key: str, value: Json, target: str) -> str:
        if not self._may(key, "writers", target):
            return f"{slug_of(target)} may not write {key} of the scratchpad"
        schema = contract(json_object(self.rules.get(key)).get("schema"))
        return "" if schema is None else violation(schema, value)

    def _may(self, key: str, what: str, target: str) -> bool:
        named = texts(json_object(self.rules.get(key)).get(what))
        return not named or slug_of(target) in named
