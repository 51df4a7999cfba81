"""A router: each request goes to the one worker whose it is, several wishes in one message to whoever does them all.

Workers never see each other's results. Whatever decides - a rule, what was decided before, a classifier, a person - is
told with the features that drove it. A worker may hand back or hand on; whoever has been asked once for a request is
not asked for it again.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.labels import CLEAN, Labels
from gateway.core.ports.orchestration import Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.router.answers import Served, answered, dropped_of, nobody, together
from gateway.patterns.router.classifying import RoutedRequest
from gateway.patterns.router.conversation import Conversations, Farewell, farewell_in
from gateway.patterns.router.replicas import Replicas
from gateway.patterns.router.routes import DAY_S, Route, Routing
from gateway.patterns.router.rules import overlaps
from gateway.patterns.router.takers import Taker, takers
from gateway.patterns.shared.failures import WANTING, another_try
from gateway.patterns.shared.settings import WORKERS, number_or, slug_of, step_name, target_in, whole
from gateway.patterns.shared.sufficiency import refuse_small_limits
from gateway.patterns.shared.tries import Tried, Tries, tried

DEFAULT_DEPTH = 2


class Router:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, "router", "classifier"})

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: no workers, nothing that says where requests go, or a rule that makes no sense."""
        block = json_object(settings.get("router"))
        self.routing = Routing.of(settings)
        self._replicas = Replicas.in_settings(block, self.routing.workers)
        self._tries = Tries.of(settings)
        self.multi_intent = block.get("multi_intent") is not False
        self._several = target_in(json_object(block.get("several"))) if block.get("several") else ""
        self._conversations = Conversations(
            sticky=block.get("hand_off") is True, ttl_s=number_or(block, "conversation_ttl_s", DAY_S)
        )

        limits, classifier = json_object(settings.get("limits")), self.routing.classifier
        self._refuse_shallow(limits)
        # A classifier that is not always asked may have as long as it likes.
        asked = [classifier] if classifier is not None and self.routing.least_calls > 1 else []
        refuse_small_limits(limits, calls=self.routing.least_calls, roles=asked)

    def doubts(self) -> tuple[str, ...]:
        """What is legal, and probably not meant: rules of different workers that hold for the same requests,
        and workers that none names."""
        # Whoever keeps a conversation may hand it on to anybody.
        unreached = () if self._conversations.sticky else self.routing.unreached
        idle = (f"no rule sends anything to {slug_of(each)}, and nothing else could" for each in unreached)
        return (*overlaps(self.routing.rules), *idle)

    async def run(self, task: Task, steps: Steps) -> Outcome:
        request, workers = RoutedRequest.of(task), self.routing.workers
        owner = await self._conversations.owner(task.context_id, workers, steps)
        asked: set[str] = set()
        if owner:
            route = Route(worker=owner, by="conversation", confidence=1.0, because="the conversation is its own")
        else:
            route = await self.routing.route(request, steps)
        while True:
            several = len(route.workers) > 1 and self.multi_intent
            await _told(route, steps, several=several)
            if several:
                return await self._all_served(route, request, task, steps)
            if not route.worker:
                return nobody(route)
            served = await self._served(route.worker, request, task, steps)
            asked.add(route.worker)
            onward = await self._onward(route, served, asked, task, steps)
            if onward.kind not in ("back", "to"):
                if served.result.ok:
                    await steps.part(slug_of(route.worker), served.result.answer, text=served.result.text)
                return answered(route, served, () if self.multi_intent else dropped_of(route))
            route = await self._rerouted(onward, route, request, steps, frozenset(asked))

    def _refuse_shallow(self, limits: JsonObject) -> None:
        nested = [each for each in (*self.routing.workers, self._several) if each.startswith("workflow:")]
        if nested and whole(limits, "max_depth", DEFAULT_DEPTH) <= DEFAULT_DEPTH:
            raise InvalidRequest(
                f"{nested[0]} has workers of its own: that takes limits.max_depth of 3", detail={"setting": "limits"}
            )

    async def _served(self, worker: str, request: RoutedRequest, task: Task, steps: Steps) -> Served:
        """The answer of the worker, of one that does the same, of whoever stands in for it, or of whoever takes the
        rest."""
        replicas = await self._replicas.in_order(worker, steps)
        node = _node(replicas[0], request, CLEAN, task)
        # Those who do the same are tried first: their answer is no less than was asked for.
        last = replicas[-1]
        failed: StepResult | None = None
        for replica in replicas[:-1]:
            node = replace(node, target=replica)
            result = await steps.call(node if failed is None else another_try(node, failed))
            if result.ok or result.error not in WANTING:
                return Served(tried=Tried(result=result))
            await steps.decided("retry", slug_of(last), because=result.because)
            failed = result
        spare = self.routing.otherwise
        has_spare = bool(spare) and spare not in replicas and last not in self._tries.stand_ins
        tries = replace(self._tries, on_failure="partial") if has_spare else self._tries
        node = replace(node, target=last)
        found = await tried(node if failed is None else another_try(node, failed), tries, steps)
        if found.result.ok or not has_spare or found.result.error not in WANTING:
            return Served(tried=found, notices=(found.notice,) if found.notice else ())
        await steps.decided("fallback", slug_of(spare), because=found.result.because)
        found = await tried(another_try(replace(node, target=spare), found.result), self._tries, steps)
        notice = f"{slug_of(spare)} answers, because {slug_of(worker)} failed"
        said = tuple(filter(None, (notice, found.notice)))
        return Served(tried=found, notices=said if found.result.ok else ())

    async def _onward(self, route: Route, served: Served, asked: set[str], task: Task, steps: Steps) -> Farewell:
        """Where the conversation goes on; noted for its next message."""
        keeps = Farewell(kind="keeps")
        if not served.result.ok:
            return keeps
        try:
            farewell = farewell_in(served.result, self.routing.workers)
        except InvalidRequest as error:
            await steps.decided("hand_off", None, because=error.message)
            farewell = keeps
        if farewell.kind == "to" and farewell.to in asked:
            await steps.decided(
                "hand_off", None, because=f"{slug_of(farewell.to)} was asked before: it goes in circles"
            )
            farewell = keeps
        owner = {"keeps": route.worker, "to": farewell.to}.get(farewell.kind, "")
        await self._conversations.given_to(task.context_id, owner, steps)
        return farewell

    async def _rerouted(
        self, onward: Farewell, route: Route, request: RoutedRequest, steps: Steps, asked: frozenset[str]
    ) -> Route:
        said_by = slug_of(route.worker)
        if onward.kind == "to":
            return Route(worker=onward.to, by="hand_off", confidence=1.0, because=f"{said_by} hands on to it")
        anew = await self.routing.route(request, steps, without=asked)
        return replace(anew, because=f"{said_by} handed it back; {anew.because}")

    async def _all_served(self, route: Route, request: RoutedRequest, task: Task, steps: Steps) -> Outcome:
        """Every wish of the message, by the workflow that is there for it, or side by side."""
        if self._several:
            node = _several_node(self._several, route, request)
            found = await tried(node, self._tries, steps)
            return answered(route, Served(tried=found, notices=(found.notice,) if found.notice else ()))
        wishes: dict[str, list[str]] = {}
        for intent in route.intents:
            wishes.setdefault(intent.worker, []).append(intent.text)
        nodes: dict[str, Node] = {}
        others: dict[str, list[Taker]] = {}
        for number, (worker, texts) in enumerate(wishes.items(), start=1):
            replicas = await self._replicas.in_order(worker, steps)
            name = step_name(f"{number}-{slug_of(worker)}")
            node = _node(replicas[0], request, route.labels, task, " ".join(filter(None, texts)))
            nodes[name] = replace(node, part=slug_of(worker))
            others[name] = [*takers(replicas, self._tries, self.routing.otherwise)]
        done = await self._side_by_side(nodes, others, steps)
        return together(route, dict(zip(map(slug_of, wishes), done, strict=True)), self._tries.on_failure)

    async def _side_by_side(
        self, nodes: dict[str, Node], others: Mapping[str, list[Taker]], steps: Steps
    ) -> list[Tried]:
        """What came of each; what failed is done by the `others` one after another, as long as there are any."""
        done = {name: Tried(result=result) for name, result in (await self._graph(nodes, steps)).items()}
        while again := {name: others[name].pop(0) for name, each in done.items() if _wanting(each) and others[name]}:
            for name, taker in again.items():
                because = done[name].result.because
                await steps.decided("fallback" if taker.notice else "retry", slug_of(taker.target), because=because)
                nodes[name] = another_try(replace(nodes[name], target=taker.target), done[name].result)
            for name, each in (await self._graph({name: nodes[name] for name in again}, steps)).items():
                done[name] = Tried(result=each, notice=again[name].notice if each.ok else "")
        if self._tries.on_failure == "ask":
            for name, each in done.items():
                if _wanting(each):
                    node = another_try(nodes[name], each.result)
                    done[name] = await tried(node, replace(self._tries, at_most=1), steps)
        return [*done.values()]

    async def _graph(self, nodes: dict[str, Node], steps: Steps) -> Mapping[str, StepResult]:
        return await steps.graph(nodes, limit=self._tries.concurrency)


def _wanting(done: Tried) -> bool:
    return not done.result.ok and done.result.error in WANTING


async def _told(route: Route, steps: Steps, *, several: bool) -> None:
    chosen: Json = [*map(slug_of, route.workers)] if several else slug_of(route.worker) or None
    detail: JsonObject = {"by": route.by, "confidence": round(route.confidence, 3), **route.features}
    await steps.decided("route", chosen, because=route.because, detail=detail)
    dropped: list[Json] = [gap.step for gap in dropped_of(route)]
    if dropped and not several:
        await steps.decided("drop", dropped, because="several wishes are not looked at here")


def _node(target: str, request: RoutedRequest, labels: Labels, task: Task, text: str = "") -> Node:
    """The step of whoever is given the request, or the one wish of it that is his."""
    data = json_object(request.data)
    if target.startswith("tool:"):
        # A tool is given arguments, and nothing it did not ask for.
        return Node(target=target, input={**data} or {"message": request.message})
    given: JsonObject = {**data, "conversation": task.context_id}
    if text:
        given["instruction"] = text
    return Node(target=target, input=given, labels=labels)


def _several_node(target: str, route: Route, request: RoutedRequest) -> Node:
    intents: list[Json] = [{"worker": slug_of(each.worker), "text": each.text} for each in route.intents]
    data: JsonObject = {**json_object(request.data), "intents": intents}
    if target.startswith("workflow:"):
        return Node(target=target, input={"message": request.message, "data": data}, labels=route.labels)
    return Node(target=target, input=data, labels=route.labels)
