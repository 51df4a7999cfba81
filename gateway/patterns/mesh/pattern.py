"""A mesh: peers that know each other by what they can do, and hand a request on until one of them answers it.

Nobody plans. Whoever has the request answers it, or says to whom it goes: to a peer by name, to whoever can do
something, or to whoever bids best. What everybody found out goes with it, and the scratchpad is open to all. Four
things end it: an answer, the hop limit, a circle, and the deadline; whichever it is, the best answer so far stands.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.ports.orchestration import Gap, Handing, Node, Outcome, StepResult, Steps
from gateway.core.task import Task
from gateway.patterns.mesh.bids import bid_of, ranked
from gateway.patterns.mesh.handoff import Handoff, Peers, handoff_in, peers_from
from gateway.patterns.mesh.rules import mesh_rules
from gateway.patterns.mesh.trail import HopRequest, Trail
from gateway.patterns.shared.failures import STOPPED
from gateway.patterns.shared.roles import role_in, words_of
from gateway.patterns.shared.rolling import Rounds
from gateway.patterns.shared.settings import HANDOVER, WORKERS, slug_of, texts
from gateway.patterns.shared.tries import Tries, tried
from gateway.patterns.shared.views import handing_in

NOBODY = "nobody is left who could take it"


class Mesh:
    """See `Pattern`."""

    uses = frozenset({*WORKERS, *HANDOVER, "mesh", "synthesiser"}) - {"tools"}

    def __init__(self, settings: JsonObject) -> None:
        """Raises: InvalidRequest: fewer than two peers, one that is none, or limits that cannot suffice."""
        self._rules = mesh_rules(settings)
        self._tries = Tries.of(settings)
        self._handing: Handing = handing_in(settings)
        self._summariser = role_in(settings, "summariser")
        self._synthesiser = role_in(settings, "synthesiser")
        keys = json_object(settings.get("scratchpad"))
        self._readers = {key: texts(json_object(rule).get("readers")) for key, rule in keys.items()}

    async def run(self, task: Task, steps: Steps) -> Outcome:
        targets = self._rules.targets
        peers = peers_from(targets, self._rules.peers, await steps.offers(targets))
        trail = Trail(alike_from=self._rules.alike_from)
        request: HopRequest | None = HopRequest(input=_input_of(task), handoff=Handoff(to=self._rules.entry))
        hop = _Hop(peers, trail, steps, Rounds(summariser=self._summariser))
        while request is not None:
            target = await self._taker(request, hop)
            request = None if target is None else await self._worked_on(target, request, hop)
        return await self._put_together(trail, hop, steps)

    async def _taker(self, request: HopRequest, hop: "_Hop") -> str | None:
        """Who takes the request; None where nobody may, and why stands in the trail."""
        if hop.trail.hops > self._rules.hops:
            return await hop.stopped("hops", f"it was handed on {self._rules.hops} times, and may not again", request)
        others = [target for target in hop.peers.can if target not in (request.asker, *request.failed)]
        able = [target for target in hop.peers.meant(request.handoff) if target in others]
        if not able:
            # Whoever was meant could not do it: the others bid.
            able = others
        free: list[str] = []
        for target in able:
            if circle := hop.trail.circle(target, request):
                await hop.decided("loop", slug_of(target), circle)
            else:
                free.append(target)
        if not free:
            what, because = ("loop", "everybody who could take it has had it before") if able else ("failed", NOBODY)
            return await hop.stopped(what, because, request)
        return free[0] if len(free) == 1 else await self._award(free, request, hop)

    async def _award(self, candidates: list[str], request: HopRequest, hop: "_Hop") -> str | None:
        """The peer whose bid is worth most; workflows do not bid, they are given what nobody else bids for."""
        await hop.told()
        nodes = {
            # A bid changes nothing.
            slug_of(target): replace(self._node(target, request, hop, bid=True), phase="propose")
            for target in candidates
            if target.startswith("agent:")
        }
        nodes = {name: replace(node, timeout_s=self._rules.bid_timeout_s) for name, node in nodes.items()}
        results = await hop.steps.graph(nodes, limit=self._tries.concurrency)
        bids = {name: bid for name, result in results.items() if (bid := bid_of(result)) is not None}
        offered = ranked([*bids.values()], self._rules.weights)
        over = next((each for each in results.values() if each.error in STOPPED), None)
        if over is not None and not offered:
            return await hop.stopped(over.error, over.reason, request)
        chosen = (
            offered[0].bid.target
            if offered
            else next((target for target in candidates if slug_of(target) not in results), candidates[0])
        )
        worth = f"its bid is worth most, {offered[0].worth:.2f}" if offered else "nobody bid, and it stands first"
        silent: list[Json] = [name for name in results if name not in bids]
        detail: JsonObject = {"bids": [each.to_json() for each in offered], "silent": silent}
        await hop.steps.decided("award", slug_of(chosen), because=worth, detail=detail)
        return chosen

    async def _worked_on(self, target: str, request: HopRequest, hop: "_Hop") -> HopRequest | None:
        """The request as it goes on from this peer; None where it does not."""
        trail = hop.trail
        trail.asked(target, request)
        await hop.told()
        keys = await hop.steps.scratchpad.all()
        node = self._node(target, request, hop, bid=False)
        node = replace(node, reads=tuple(key for key in keys if self._may_read(target, key)), part=trail.part)
        done = await tried(node, self._tries, hop.steps)
        trail.notices += [done.notice] if done.notice else []
        result = done.result
        if not result.ok:
            return await self._without(target, request, result, hop, fails_run=done.fails_run)
        try:
            handoff, result = await self._handoff(node, result, hop)
        except InvalidRequest as error:
            trail.answered(result, final=False)
            return await hop.stopped("handoff", error.message, request)
        trail.answered(result, final=handoff is None)
        if handoff is None:
            return None
        told: JsonObject = {"from": slug_of(target), "why": handoff.why}
        await hop.steps.decided("handoff", handoff.wanted, because=f"{slug_of(target)} handed it on", detail=told)
        return trail.handed_on(target, request, handoff, result.labels)

    async def _handoff(self, node: Node, result: StepResult, hop: "_Hop") -> tuple[Handoff | None, StepResult]:
        """Where an answer says that the request goes. Who says it wrongly is told so, and asked once more.

        Raises: InvalidRequest: it was wrong again.
        """
        try:
            return hop.peers.checked(handoff_in(result.said), node.target), result
        except InvalidRequest as error:
            await hop.decided("retry", slug_of(node.target), error.message)
            again = await hop.steps.call(replace(node, target=result.target, again=result.id, note=error.message))
            if not again.ok:
                raise
        return hop.peers.checked(handoff_in(again.said), node.target), again

    def _node(self, target: str, request: HopRequest, hop: "_Hop", *, bid: bool) -> Node:
        mesh: JsonObject = {
            "peers": hop.peers.told_to(target),
            "hops_left": max(0, self._rules.hops - hop.trail.hops),
            "from": slug_of(request.asker),
            "why": request.handoff.why,
        }
        return Node(
            target=target,
            input={**request.input, "mesh": {**mesh, "bid": True} if bid else mesh},
            labels=request.labels,
            given=hop.given,
            handing=self._handing,
            publishes=not bid,
        )

    async def _without(
        self, target: str, request: HopRequest, result: StepResult, hop: "_Hop", *, fails_run: bool
    ) -> HopRequest | None:
        """A peer failed for good: the request stays with those who are left."""
        trail = hop.trail
        trail.gaps.append(Gap(step=trail.part, target=target, error=result.error, reason=result.reason))
        if result.error in STOPPED:
            return await hop.stopped(result.error, result.because)
        if fails_run:
            trail.error = f"{slug_of(target)} failed: {result.because}"
            return await hop.stopped("failed", trail.error)
        return replace(request, failed=(*request.failed, target))

    def _may_read(self, target: str, key: str) -> bool:
        readers = self._readers.get(key, ())
        return not readers or slug_of(target) in readers

    async def _put_together(self, trail: Trail, hop: "_Hop", steps: Steps) -> Outcome:
        best, gaps, notices = trail.best, tuple(trail.gaps), [*trail.notices]
        if best is None:
            reasons = "; ".join(f"{slug_of(gap.target)}: {gap.because}" for gap in gaps)
            error = trail.error or "nobody answered"
            return Outcome(text=f"Nobody answered. {reasons}", gaps=gaps, error=error, why=trail.why)
        if trail.final is not None:
            # What others failed at, somebody has done in the end.
            notices += [f"{slug_of(gap.target)} could not be had: {gap.because}" for gap in gaps]
            gaps = ()
        text = await self._worded(trail, hop, steps) or best.text or best.summary or "Done."
        if trail.final is None:
            text += f"\nThis is the best answer so far: {trail.because}."
        return Outcome(
            text=text,
            value=best.value,
            gaps=gaps,
            error=trail.error,
            notices=tuple(dict.fromkeys(notices)),
            confidence=trail.confidence,
            why=trail.why,
        )

    async def _worded(self, trail: Trail, hop: "_Hop", steps: Steps) -> str:
        """The synthesiser's words; empty where there is none, or it failed."""
        if self._synthesiser is None:
            return ""
        await hop.told()
        node = replace(self._synthesiser.node({"stopped": trail.because}), given=hop.given, last=True)
        return words_of(await steps.call(node))


class _Hop:
    """What every hop has at hand."""

    def __init__(self, peers: Peers, trail: Trail, steps: Steps, rounds: Rounds) -> None:
        self.peers, self.trail, self.steps = peers, trail, steps
        self.given: Mapping[str, StepResult] = {}
        """What everybody found out, for whoever is next: the latest whole, the earlier ones in few words."""
        self._rounds = rounds

    async def told(self) -> None:
        """See `given`."""
        self.given = await self._rounds.handed(*self.trail.said, self.steps)

    async def decided(self, what: str, chosen: str, because: str) -> None:
        await self.steps.decided(what, chosen, because=because, detail={"path": self.trail.path_json})

    async def stopped(self, what: str, because: str, undone: HopRequest | None = None) -> None:
        """The request goes no further, and why is kept; `undone`: what the answer lacks."""
        self.trail.stop(what, because, undone)
        await self.decided("stop", what, because)


def _input_of(task: Task) -> JsonObject:
    """The request as it came; its words go with every step anyway."""
    message = task.message
    return dict(json_object(None if message is None else message.structured))
