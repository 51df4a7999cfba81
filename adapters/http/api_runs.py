"""Runs over REST: list, look into, follow, cancel, pause, resume, fork, forget."""

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from adapters.http.api_call import LIST_LIMIT, Call, Recorder, answer
from adapters.http.api_ports import RunControl, RunExplainer, RunRetention
from adapters.http.api_views import rfc3339, run_in_full, run_view, us_from_rfc3339
from adapters.http.shown_json import shown_json
from gateway.core.errors import Conflict, Exhausted, NotFound, Unauthenticated, Unavailable
from gateway.core.json import JsonObject, json_text
from gateway.core.ports.gateway import Authenticator
from gateway.core.ports.runs import Run, RunEvent, RunStore
from gateway.core.task import TaskState

_WAIT_S = 15.0
"""Longest silence on an event stream; under the idle limit of common proxies."""

_MAX_SEQ = 2**62


class RunEndpoints:
    def __init__(
        self,
        *,
        runs: RunStore,
        control: RunControl,
        explaining: RunExplainer,
        retention: RunRetention,
        recorder: Recorder,
        authenticator: Authenticator,
        streams: int,
    ) -> None:
        """`streams`: how many may be followed at once in one tenant."""
        self._runs = runs
        self._control = control
        self._explaining = explaining
        self._retention = retention
        self._recorder = recorder
        self._authenticator = authenticator
        self._streams = streams
        self._open: dict[str, int] = {}
        """Streams by tenant."""

    async def list_runs(self, call: Call) -> Response:
        runs = await self._runs.list(
            call.tenant,
            owner=call.text("owner"),
            workflow=call.text("workflow"),
            limit=max(1, call.number("limit", 50, LIST_LIMIT)),
        )
        return answer({"runs": [run_view(run) for run in runs]})

    async def get_run(self, call: Call) -> Response:
        run = await self._find(call)
        return answer({"run": run_in_full(run, await self._runs.steps(run.id))})

    async def explain_run(self, call: Call) -> Response:
        run = await self._find(call)
        return answer({"explanation": await self._explaining.explain(call.who, run.id)})

    async def cancel_run(self, call: Call) -> Response:
        run = await self._find(call)
        if TaskState(run.state).terminal:
            raise Conflict(f"the run is over: {run.state}")
        async with self._recorder.change(call, "runs.cancel", f"workflow:{run.workflow}", {"run": run.id}):
            await self._control.cancel(run.id)
        return answer({"run": run_view(await self._find(call))}, 202)

    async def resume_run(self, call: Call) -> Response:
        run = await self._find(call)
        if run.state == TaskState.COMPLETED:
            raise Conflict("the run is over: completed")
        async with self._recorder.change(call, "runs.resume", f"workflow:{run.workflow}", {"run": run.id}):
            await self._control.resume(run.id)
        return answer({"run": run_view(await self._find(call))}, 202)

    async def pause_run(self, call: Call) -> Response:
        run = await self._find(call)
        async with self._recorder.change(call, "runs.pause", f"workflow:{run.workflow}", {"run": run.id}):
            await self._control.pause(run.id)
        return answer({"run": run_view(await self._find(call))}, 202)

    async def fork_run(self, call: Call) -> Response:
        run, step = await self._find(call), json_text(call.body.get("from"))
        detail: JsonObject = {"run": run.id, "from": step}
        async with self._recorder.change(call, "runs.fork", f"workflow:{run.workflow}", detail):
            forked = await self._control.fork(run.id, step)
        return answer({"run": run_view(forked)}, 201)

    async def prune_runs(self, call: Call) -> Response:
        before = json_text(call.body.get("before"))
        memories = call.body.get("memories") is True
        async with self._recorder.change(call, "runs.prune", "", {"before": before, "memories": memories}):
            pruned = await self._retention.prune(call.tenant, us_from_rfc3339(before, "before"), memories=memories)
        return answer(
            {
                "runs": pruned.runs,
                "effects": pruned.effects,
                "taskOwners": pruned.owners,
                "memories": pruned.memories,
            }
        )

    async def watch_run(self, call: Call) -> Response:
        run = await self._find(call)
        # A browser's EventSource reconnects by itself and names the last event only in this header.
        after = call.number("after", 0, _MAX_SEQ)
        last = call.request.headers.get("last-event-id", "")
        if last.isascii() and last.isdigit():
            after = max(after, min(int(last[:18]), _MAX_SEQ))
        if self._open.get(call.tenant, 0) >= self._streams:
            raise Exhausted("too many event streams are open", retry_after_s=5)
        return StreamingResponse(
            self._frames(call, run.id, after),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _frames(self, call: Call, run_id: str, after: int) -> AsyncIterator[bytes]:
        self._open[call.tenant] = self._open.get(call.tenant, 0) + 1
        try:
            while True:
                # Read before the events: whatever a finished run appended is then among them.
                run = await self._runs.find(call.tenant, run_id)
                over = run is None or TaskState(run.state).terminal
                if over:
                    events = await self._runs.events(run_id, after)
                else:
                    events = await self._runs.wait_events(run_id, after, _WAIT_S)
                for event in events:
                    after = event.seq
                    yield _frame(event)
                if over:
                    yield _end(run)
                    return
                if not events:
                    yield b": waiting\n\n"
                if not await self._still_allowed(call):
                    yield b'event: error\ndata: {"reason":"UNAUTHENTICATED"}\n\n'
                    return
        finally:
            self._open[call.tenant] -= 1

    async def _still_allowed(self, call: Call) -> bool:
        """A stream outlives what was checked when it began; a revoked key ends it."""
        try:
            authorization = call.request.headers.get("authorization", "").encode()
            who = (await self._authenticator.authenticate(authorization)).principal
        except (Unauthenticated, Unavailable):
            return False
        return who.kind == "operator" and who.tenant == call.tenant

    async def _find(self, call: Call) -> Run:
        run = await self._runs.find(call.tenant, call.path("id"))
        if run is None:
            raise NotFound("no such run")
        return run


def _frame(event: RunEvent) -> bytes:
    body: JsonObject = {"seq": event.seq, "at": rfc3339(event.at_us), "event": event.body}
    return b"id: %d\ndata: %s\n\n" % (event.seq, shown_json(body))


def _end(run: Run | None) -> bytes:
    return b"event: end\ndata: %s\n\n" % shown_json({"run": None if run is None else run_view(run)})
