"""What contract tests found: of each consumer, how often it was asked and which answers broke its contract. Pure."""

from dataclasses import dataclass

from gateway.core.json import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenCase:
    """An input that was right, and what was wrong with the answer."""

    input: Json
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerReport:
    """One stage, step or role."""

    workflow: str
    consumer: str
    target: str
    asked: int
    broken: tuple[BrokenCase, ...]
    problem: str = ""
    """Why it could not be asked."""

    @property
    def kept(self) -> bool:
        return not self.broken and not self.problem

    def to_json(self) -> JsonObject:
        broken: list[Json] = [{"input": each.input, "problem": each.problem} for each in self.broken]
        return {
            "workflow": self.workflow,
            "consumer": self.consumer,
            "target": self.target,
            "asked": self.asked,
            "kept": self.kept,
            "broken": broken,
            "problem": self.problem,
        }
