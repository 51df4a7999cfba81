"""What one of many may have to itself for a while: a link one browser opened, an account one gateway renews."""

from typing import Protocol


class Claims(Protocol):
    """Who has what, over all gateways on the same database."""

    async def take(self, tenant: str, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        """Whether `holder` has it now, until then: it was nobody's, its time was over, or it had it before."""
        ...

    async def leave(self, tenant: str, name: str, holder: str) -> None:
        """Let go of it before its time; nothing happens where another has it."""
        ...

    async def pass_on(self, tenant: str, name: str, holder: str, to: str) -> None:
        """Have another hold it for the rest of its time; nothing happens where `holder` does not have it."""
        ...
