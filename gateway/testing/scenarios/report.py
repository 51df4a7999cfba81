"""What came of scenarios: of one run, of many runs of one, of a whole file; as JSON and as JUnit XML. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from gateway.core.json import Json, JsonObject
from gateway.testing.scenarios.assertions import Finding, Given
from gateway.testing.scenarios.matching import shown
from gateway.testing.scenarios.trace import Trace

_UNWRITABLE = re.compile(r"[^\t\n\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """One run of one scenario."""

    seed: int
    findings: tuple[Finding, ...]
    trace: Trace
    answer: Given
    explanations: tuple[JsonObject, ...]
    """Of its runs, in the order in which they were asked for."""

    @property
    def passed(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioReport:
    """One scenario, run once or more often."""

    name: str
    file: Path
    line: int
    trials: tuple[TrialReport, ...]
    took_s: float
    """Real seconds, of all of them."""
    problem: str = ""
    """Why it could not be run at all."""

    @property
    def passed(self) -> bool:
        return not self.problem and all(each.passed for each in self.trials)

    @property
    def failed_seeds(self) -> list[int]:
        return [each.seed for each in self.trials if not each.passed]

    @property
    def first_failed(self) -> TrialReport | None:
        return next((each for each in self.trials if not each.passed), None)

    @property
    def courses(self) -> list[tuple[int, tuple[str, ...]]]:
        """Different courses the runs took, each with how many took it, the most frequent first."""
        counted = Counter(each.trace.signature for each in self.trials)
        return [(number, course) for course, number in counted.most_common()]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Many runs of one scenario in one gateway."""

    name: str
    runs: int
    in_flight: int
    lasted_s: float
    took_s: tuple[float, ...]
    """Of each run, shortest first."""
    steps: int
    """Calls of agents and tools its runs made."""
    failures: Mapping[str, int]
    """What was wrong, and how often."""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def quantile(self, share: float) -> float:
        """How long at most that share of the runs took, seconds."""
        return self.took_s[min(len(self.took_s) - 1, int(share * len(self.took_s)))] if self.took_s else 0.0

    def to_json(self) -> JsonObject:
        failures: JsonObject = {**self.failures}
        return {
            "name": self.name,
            "runs": self.runs,
            "inFlight": self.in_flight,
            "lastedS": round(self.lasted_s, 3),
            "runsPerSecond": round(self.runs / self.lasted_s, 1) if self.lasted_s else 0.0,
            "stepsPerSecond": round(self.steps / self.lasted_s, 1) if self.lasted_s else 0.0,
            "p50Ms": round(self.quantile(0.5) * 1000, 1),
            "p99Ms": round(self.quantile(0.99) * 1000, 1),
            "longestMs": round(self.quantile(1.0) * 1000, 1),
            "failed": self.failed,
            "failures": failures,
        }


def to_json(reports: Sequence[ScenarioReport]) -> JsonObject:
    """Everything, for machines."""
    listed: list[Json] = [_scenario(each) for each in reports]
    return {"passed": all(each.passed for each in reports), "scenarios": listed}


def junit(reports: Iterable[ScenarioReport]) -> str:
    """The reports as CI systems read them: a suite for each file, a case for each scenario."""
    root = ElementTree.Element("testsuites", name="drawbridge")
    by_file: dict[Path, list[ScenarioReport]] = {}
    for each in reports:
        by_file.setdefault(each.file, []).append(each)
    for file, cases in by_file.items():
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=str(file),
            tests=str(len(cases)),
            failures=str(sum(not each.passed and not each.problem for each in cases)),
            errors=str(sum(bool(each.problem) for each in cases)),
            time=f"{sum(each.took_s for each in cases):.3f}",
        )
        for each in cases:
            _case(suite, each)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, report: ScenarioReport) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=_xml(report.name),
        classname=report.file.stem,
        file=str(report.file),
        line=str(report.line),
        time=f"{report.took_s:.3f}",
    )
    if report.problem:
        ElementTree.SubElement(case, "error", message=_xml(report.problem))
        return
    failed = report.first_failed
    if failed is not None:
        share = f"{len(report.trials) - len(report.failed_seeds)} of {len(report.trials)} runs passed"
        first = str(failed.findings[0])
        message = first if len(report.trials) == 1 else f"{share}; first: {first}"
        wrong = ElementTree.SubElement(case, "failure", message=_xml(message))
        wrong.text = _xml("\n".join([f"seed {failed.seed}", *map(str, failed.findings), "", *failed.trace.signature]))


def _xml(text: str) -> str:
    """Without what XML 1.0 has no way to write."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _scenario(report: ScenarioReport) -> JsonObject:
    courses: list[Json] = [{"runs": number, "course": [*course]} for number, course in report.courses]
    trials: list[Json] = [_trial(each) for each in report.trials]
    said: JsonObject = {
        "name": report.name,
        "file": str(report.file),
        "line": report.line,
        "passed": report.passed,
        "runs": len(report.trials),
        "failed": len(report.failed_seeds),
        "failedSeeds": [*report.failed_seeds],
        "courses": courses,
        "tookS": round(report.took_s, 3),
        "trials": trials,
    }
    if report.problem:
        said["problem"] = report.problem
    return said


def _trial(report: TrialReport) -> JsonObject:
    wrong: list[Json] = [{"what": e.what, "expected": e.expected, "seen": e.seen} for e in report.findings]
    return {
        "seed": report.seed,
        "passed": report.passed,
        "findings": wrong,
        "answer": shown(report.answer.value),
        "error": report.answer.error,
        "tookS": report.trace.took_us / 1e6,
        "calls": report.trace.tried,
        "tokens": report.trace.tokens,
        "costUsd": str(report.trace.cost_usd),
        "processes": report.trace.processes,
        "explanations": [*report.explanations] if not report.passed else [],
    }
