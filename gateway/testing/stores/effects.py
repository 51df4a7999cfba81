"""Effects by their idempotency keys, in memory."""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.core.errors import Conflict, NotFound
from gateway.core.json import JsonObject
from gateway.core.ports.storage import EffectState, Fresh, Known, Unfinished


@dataclass(slots=True)
class KeptEffect:
    digest: str
    process: str
    began_at_us: int
    outcome: "JsonObject | None" = None


class MemoryEffectLedger:
    """Give a second one the first's `effects` to play a restart, or another process: then both are `living`."""

    def __init__(
        self,
        *,
        process: str = "here",
        effects: dict[tuple[str, str], KeptEffect] | None = None,
        living: Collection[str] = (),
    ) -> None:
        self._process = process
        self._living = living
        self.effects = {} if effects is None else effects

    async def begin(self, tenant: str, key: str, digest: str, at_us: int) -> EffectState:
        known = self.effects.get((tenant, key))
        if known is None:
            self.effects[(tenant, key)] = KeptEffect(digest, self._process, at_us)
            return Fresh()
        if known.digest != digest:
            raise Conflict("this idempotency key was used before, with other arguments or by another caller")
        if known.outcome is not None:
            return Known(known.outcome)
        here = known.process == self._process
        return Unfinished(known.began_at_us, here=here, elsewhere=not here and known.process in self._living)

    async def again(self, tenant: str, key: str, at_us: int) -> None:
        known = self.effects.get((tenant, key))
        if known is None or known.outcome is not None:
            raise NotFound("no unfinished effect has this idempotency key")
        known.process = self._process

    async def finish(self, tenant: str, key: str, outcome: JsonObject, at_us: int) -> None:
        known = self.effects.get((tenant, key))
        if known is None:
            raise NotFound("no effect with this idempotency key was begun")
        if known.outcome is None:
            known.outcome = outcome

    async def leave(self, tenant: str, key: str) -> None:
        known = self.effects.get((tenant, key))
        if known is not None and known.outcome is None:
            known.process = ""

    async def forget(self, tenant: str, key: str) -> None:
        known = self.effects.get((tenant, key))
        if known is not None and known.outcome is None:
            del self.effects[(tenant, key)]
