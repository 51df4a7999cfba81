"""Budgets by the minute where several processes spend from them: reserved in what they share before a call leaves."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import anyio
import structlog

from gateway.core.errors import GatewayError
from gateway.core.limits import Usage
from gateway.core.ports.costs import Given, MinuteLedger
from policies.budgets.windows import Account

log = structlog.get_logger(__name__)

MINUTE_US = 60_000_000
SETTLE_WITHIN_S = 2.0


class SharedMinutes:
    """Of all accounts. What a process that died had reserved is gone with the minute."""

    def __init__(self, ledger: MinuteLedger) -> None:
        self._ledger = ledger

    async def reserve(self, accounts: Sequence[Account], estimate: Usage, now_us: int) -> list[Given]:
        """What was taken, to be settled. Raises: Exhausted: an account has no room left in this minute; Unavailable."""
        given: list[Given] = []
        try:
            for account in accounts:
                if account.by_the_minute:
                    given.append(await self._from(account, estimate, now_us))
        except BaseException:
            for each in given:
                await self._add(replace(each, calls=-each.calls, tokens=-each.tokens))
            raise
        return given

    async def settle(self, given: Sequence[Given], used: Usage) -> None:
        """Correct what was reserved by what was used."""
        for each in given:
            if used.tokens != each.tokens:
                await self._add(replace(each, calls=0, tokens=used.tokens - each.tokens))

    async def _from(self, account: Account, estimate: Usage, now_us: int) -> Given:
        wanted = Given(budget=account.name, minute=now_us // MINUTE_US, calls=estimate.calls, tokens=estimate.tokens)
        before = await self._ledger.reserve(wanted, partial(_fits, account, estimate))
        if before is not None:
            raise account.refuse_minute(_used(*before), estimate, now_us)
        return wanted

    async def _add(self, more: Given) -> None:
        with anyio.move_on_after(SETTLE_WITHIN_S, shield=True):
            try:
                await self._ledger.settle(more)
            except GatewayError as error:
                log.info("a budget's minute is not corrected", budget=more.budget, reason=error.message)


def _fits(account: Account, estimate: Usage, calls: int, tokens: int) -> bool:
    return account.fits_minute(_used(calls, tokens), estimate)


def _used(calls: int, tokens: int) -> Usage:
    return Usage(calls=calls, tokens=tokens)
