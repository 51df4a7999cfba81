"""Faults around an upstream, as a scenario orders them: the same engine as chaos in a running gateway."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import anyio

from gateway.core.content import NOTHING
from gateway.core.errors import DeadlineExceeded
from gateway.core.faults import Fault, Injection, distorted, error_of, fault_from_text
from gateway.core.model import Capability, Complete, Emit, Request, Result
from gateway.core.ports.upstream import Listing, Upstream
from gateway.core.ports.world import Clock
from gateway.testing.scenarios.settings import FaultSettings


@dataclass(slots=True)
class Ordered:
    """One fault of a scenario; counts the calls of its target."""

    injection: Injection
    nth: tuple[int, ...]
    calls: dict[str, int] = field(default_factory=dict[str, int])
    struck: int = 0

    def strikes(self, target: str) -> bool:
        """Whether this call is struck; to be asked once a call."""
        if not fnmatchcase(target, self.injection.target):
            return False
        number = self.calls[target] = self.calls.get(target, 0) + 1
        if (self.nth and number not in self.nth) or not self.injection.strikes(f"{target} {number}"):
            return False
        self.struck += 1
        return True


def ordered(faults: tuple[FaultSettings, ...], seed: int) -> list[Ordered]:
    """The faults of a scenario, none of which has struck yet."""
    return [
        Ordered(
            Injection(
                id=f"fault-{number}",
                tenant="*",
                target=each.target,
                fault=fault_from_text(each.fault),
                share=each.share,
                seed=seed,
            ),
            each.nth,
        )
        for number, each in enumerate(faults, start=1)
    ]


class FaultyUpstream:
    """See `Upstream`."""

    def __init__(self, upstream: Upstream, faults: list[Ordered], clock: Clock) -> None:
        self._upstream = upstream
        self._faults = faults
        self._clock = clock

    @property
    def name(self) -> str:
        return self._upstream.name

    async def capabilities(self) -> Listing:
        return await self._upstream.capabilities()

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        struck = [each for each in self._faults if request.operation == "call" and each.strikes(capability.name)]
        for each in struck:
            await self._delayed(each.injection.fault, request)
            if (error := error_of(each.injection.fault, capability.name)) is not None:
                raise error
        failing = next((each.injection for each in struck if each.injection.fault.kind == "error"), None)
        if failing is not None:
            return distorted(Complete(body=NOTHING, labels=request.labels), failing)
        result = await self._upstream.call(request, capability, emit)
        for each in struck:
            result = distorted(result, each.injection)
        return result

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _delayed(self, fault: Fault, request: Request) -> None:
        left_s = request.budget.seconds_left(self._clock.monotonic_s())
        await anyio.sleep(min(fault.delay_s, left_s))
        if fault.delay_s >= left_s:
            raise DeadlineExceeded(f"{self.name} did not finish in time")
