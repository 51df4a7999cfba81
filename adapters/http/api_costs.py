"""Costs over REST: what was spent, by whatever it is asked for, and how much of the budgets that is."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from starlette.responses import Response

from adapters.http.api_call import LIST_LIMIT, Call, answer
from adapters.http.api_ports import Costs
from adapters.http.api_views import us_from_rfc3339, usage_view
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.limits import Usage, usage_from_json
from gateway.core.ports.costs import Spent
from gateway.core.ports.runs import Run, RunStep, RunStore
from gateway.core.ports.world import Clock

BY = ("agent", "tool", "workflow", "tenant", "day", "run", "step", "stage")
_RUNS_AT_ONCE = 100
DAYS = 30
"""How many days are added up where nobody says since when."""


class CostEndpoints:
    def __init__(self, *, costs: Costs, runs: RunStore, clock: Clock) -> None:
        self._costs = costs
        self._runs = runs
        self._clock = clock

    async def list_costs(self, call: Call) -> Response:
        by = call.text("by") or "agent"
        if by not in BY:
            raise InvalidRequest(f"by is one of {', '.join(BY)}")
        today = datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC).date()
        since = _day(call.text("since"), "since") or today - timedelta(days=DAYS - 1)
        until = _day(call.text("until"), "until") or today
        left_out = 0
        if by == "run":
            sums, total, left_out = await self._by_run(self._runs_of(call.tenant, since, until))
        elif by == "stage":
            sums, total = await self._by_stage(self._runs_of(call.tenant, since, until))
        else:
            if by == "step":
                sums = await self._by_step(self._runs_of(call.tenant, since, until))
            else:
                sums = _by(by, await self._costs.spent(call.tenant, since.isoformat(), until.isoformat()))
            total = sum(sums.values(), Usage())
        rows: list[Json] = [{"name": name, "usage": usage_view(usage)} for name, usage in sums.items()]
        said: JsonObject = {
            "by": by,
            "since": since.isoformat(),
            "until": until.isoformat(),
            "rows": rows,
            "total": usage_view(total),
            "leftOut": left_out,
            "budgets": [*self._costs.budgets(call.tenant)],
        }
        return answer(said)

    async def _by_run(self, runs: AsyncIterator[Run]) -> tuple[dict[str, Usage], Usage, int]:
        """The newest runs, what all of them used, and how many are not shown."""
        shown: dict[str, Usage] = {}
        total, left_out = Usage(), 0
        async for run in runs:
            usage = run.usage
            if run.spec.get("homes"):
                usage = sum((each for _, each in of_steps(await self._own_steps(run), nested=True)), Usage())
            if not json_text(run.spec.get("parent_run")):
                # What a nested one used its outer one has in its own.
                total = total + usage
            if len(shown) < LIST_LIMIT:
                shown[run.id] = usage
            else:
                left_out += 1
        return shown, total, left_out

    async def _by_step(self, runs: AsyncIterator[Run]) -> dict[str, Usage]:
        """By `WORKFLOW/STEP`, the dearest first."""
        sums: dict[str, Usage] = {}
        async for run in runs:
            _add(sums, run, of_steps(await self._own_steps(run)))
        return _dearest_first(sums)

    async def _by_stage(self, runs: AsyncIterator[Run]) -> tuple[dict[str, Usage], Usage]:
        """By `WORKFLOW/STAGE`, the dearest first, and what all of them used."""
        sums: dict[str, Usage] = {}
        used: dict[str, Usage] = {}
        outer: dict[str, str] = {}
        async for run in runs:
            if parts := of_stages(run):
                _add(sums, run, parts)
                used[run.id] = sum((usage for _, usage in parts), Usage())
            if parent := json_text(run.spec.get("parent_run")):
                outer[run.id] = parent
        # What was done within a stage of another run that one has in its own.
        total = sum((own for run_id, own in used.items() if not _is_within(run_id, outer, used)), Usage())
        return _dearest_first(sums), total

    async def _own_steps(self, run: Run) -> list[RunStep]:
        """Without those that were taken over from another run: that one did them, before this one began."""
        steps = await self._runs.steps(run.id)
        return [each for each in steps if not run.spec.get("homes") or each.started_at_us >= run.created_at_us]

    async def _runs_of(self, tenant: str, since: date, until: date) -> AsyncIterator[Run]:
        """All that began on these days, the newest first, read as they are asked for."""
        begin_us = us_from_rfc3339(f"{since.isoformat()}T00:00:00Z", "since")
        end_us = us_from_rfc3339(f"{(until + timedelta(days=1)).isoformat()}T00:00:00Z", "until")
        before = (end_us, "")
        while page := await self._runs.list(tenant, before=before, limit=_RUNS_AT_ONCE):
            for run in page:
                if run.created_at_us < begin_us:
                    return
                yield run
            before = (page[-1].created_at_us, page[-1].id)


def of_steps(steps: Iterable[RunStep], *, nested: bool = False) -> list[tuple[str, Usage]]:
    """What each step of a run used, by the name the pattern gave it, or else what it called. Without those that were
    runs of other workflows, unless `nested`: they have steps of their own."""
    found: list[tuple[str, Usage]] = []
    ordered = sorted(steps, key=lambda each: (each.id, each.attempt))
    for step_id, attempts in groupby(ordered, key=lambda each: each.id):
        own = [each for each in attempts if nested or not each.target.startswith("workflow:")]
        for each in own:
            # An attempt that never got there is counted with the one that followed.
            if each is own[-1] or each.state != "unavailable":
                last = step_id.rpartition("/")[2]
                name = each.target.rpartition(":")[2].rpartition("/")[2] if last.isdigit() else last
                found.append((name, each.usage))
    return found


def of_stages(run: Run) -> list[tuple[str, Usage]]:
    """What each stage of a sequential run used, by its name, without what was taken over; nothing of other runs."""
    content = json_object(json_object(run.output).get("content"))
    stages = json_object(json_object(json_object(content.get("structured")).get("why")).get("stages"))
    found: list[tuple[str, Usage]] = []
    for name, said in stages.items():
        share = json_object(said)
        used, before = _usage_of(share), _usage_of(json_object(share.get("taken_over")))
        if used.calls > before.calls or not before.calls:
            own = replace(used, calls=used.calls - before.calls, tokens=used.tokens - before.tokens)
            found.append((name, replace(own, cost_usd=used.cost_usd - before.cost_usd)))
    return found


def _usage_of(share: JsonObject) -> Usage:
    return usage_from_json({**share, "calls": share.get("attempts")})


def _add(sums: dict[str, Usage], run: Run, parts: Iterable[tuple[str, Usage]]) -> None:
    for name, usage in parts:
        place = f"{run.workflow}/{name}"
        sums[place] = sums.get(place, Usage()) + usage


def _is_within(run_id: str, outer: Mapping[str, str], used: Mapping[str, Usage]) -> bool:
    """Whether one of the runs that this one is nested in has stages."""
    while run_id in outer:
        run_id = outer[run_id]
        if run_id in used:
            return True
    return False


def _by(by: str, spent: tuple[Spent, ...]) -> dict[str, Usage]:
    """Sums by name, the dearest first."""
    sums: dict[str, Usage] = {}
    for each in spent:
        kind, _, slug = each.target.partition(":")
        if by in ("agent", "tool"):
            name = slug if kind == by else ""
        else:
            name = {"workflow": each.workflow, "tenant": each.tenant, "day": each.day}[by]
        if name:
            sums[name] = sums.get(name, Usage()) + each.usage
    if by == "day":
        return dict(sorted(sums.items(), reverse=True))
    return _dearest_first(sums)


def _dearest_first(sums: dict[str, Usage]) -> dict[str, Usage]:
    return dict(sorted(sums.items(), key=lambda each: (-each[1].cost_usd, -each[1].tokens, each[0])))


def _day(text: str, name: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} is a day such as 2026-11-28") from error
