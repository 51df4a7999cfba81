"""Claims in memory."""


class MemoryClaims:
    """See `Claims`."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[str, int]] = {}

    async def take(self, tenant: str, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        other, over_us = self._held.get((tenant, name), (holder, 0))
        if other != holder and over_us > now_us:
            return False
        self._held[tenant, name] = (holder, until_us)
        return True

    async def leave(self, tenant: str, name: str, holder: str) -> None:
        if self._held.get((tenant, name), ("", 0))[0] == holder:
            del self._held[tenant, name]

    async def pass_on(self, tenant: str, name: str, holder: str, to: str) -> None:
        other, until_us = self._held.get((tenant, name), ("", 0))
        if other == holder:
            self._held[tenant, name] = (to, until_us)
