"""What a router answers with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.json import JsonObject
from gateway.core.ports.orchestration import Gap, Outcome, StepResult
from gateway.patterns.router.routes import Route
from gateway.patterns.shared.gaps import gap_from, lines_of, reasons_of
from gateway.patterns.shared.nested import gaps_in, notices_in
from gateway.patterns.shared.settings import slug_of
from gateway.patterns.shared.tries import Tried
from gateway.patterns.shared.wishes import Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What came of a request, and whose answer it is."""

    tried: Tried
    notices: tuple[str, ...] = ()

    @property
    def result(self) -> StepResult:
        return self.tried.result


def answered(route: Route, served: Served, gaps: tuple[Gap, ...] = ()) -> Outcome:
    """The answer of whoever was given the request; `gaps`: the wishes it was not about."""
    result = served.result
    why: JsonObject = {"route": route.to_json(), "answered_by": slug_of(result.target)}
    if not result.ok:
        gap = gap_from(slug_of(route.worker), result)
        error = f"{slug_of(result.target)} failed: {result.because}"
        lacking = (gap, *gaps_in(result), *gaps)
        return Outcome(text=f"Nobody could answer. {error}", gaps=lacking, error=error, why=why)
    text = result.text or result.summary or "Done."
    if gaps:
        text += "\nNot dealt with: " + "; ".join(f"{gap.step} ({gap.reason})" for gap in gaps)
    return Outcome(
        text=text,
        value=result.answer,
        gaps=(*gaps_in(result), *gaps),
        notices=(*served.notices, *notices_in(result)),
        confidence=route.confidence,
        why=why,
    )


def together(route: Route, done: Mapping[str, Tried], on_failure: str) -> Outcome:
    """The answers to several wishes, each under the slug of the worker whose it is, whoever gave it."""
    results = {name: each.result for name, each in done.items()}
    gaps = tuple(gap_from(name, each) for name, each in results.items() if not each.ok)
    gaps += tuple(gap for each in results.values() if each.ok for gap in gaps_in(each))
    answered = {name: each for name, each in results.items() if each.ok}
    lines = [each.text or each.summary or f"{name}: done" for name, each in answered.items()]
    lines += lines_of(gaps)
    fails_run = any(each.fails_run for each in done.values()) or (bool(gaps) and on_failure == "fail")
    return Outcome(
        text="\n".join(lines),
        value={name: each.answer for name, each in answered.items()},
        gaps=gaps,
        error=reasons_of(gaps) if fails_run or not answered else "",
        notices=tuple(
            dict.fromkeys(
                notice
                for each in done.values()
                if each.result.ok
                for notice in (*filter(None, (each.notice,)), *notices_in(each.result))
            )
        ),
        confidence=route.confidence,
        why={"route": route.to_json()},
    )


def nobody(route: Route) -> Outcome:
    """There is nobody to answer."""
    error = f"nobody is known for this request: {route.because}"
    gap = Gap(step="route", target="", error="failed", reason=route.because)
    return Outcome(text=f"Nothing was done: {error}.", gaps=(gap,), error=error, why={"route": route.to_json()})


def dropped_of(route: Route) -> tuple[Gap, ...]:
    """The wishes that are left out because several are not looked at."""
    others: dict[str, Intent] = {each.worker: each for each in route.intents if each.worker != route.worker}
    return tuple(
        Gap(step=slug_of(worker), target=worker, error="skipped", reason="one wish a message is served here")
        for worker in others
    )
