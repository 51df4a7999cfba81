"""A stage's own share of tokens and money, over all its attempts and items. Pure."""

from dataclasses import dataclass, replace
from decimal import Decimal

from gateway.core.json import JsonObject
from gateway.core.limits import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShare:
    """None for not limited."""

    tokens: int | None = None
    cost_usd: Decimal | None = None
    spent: Usage = Usage()
    attempts: int = 0
    before: Usage = Usage()
    """Of what is spent: by attempts that another run made, from which this one was made."""
    attempts_before: int = 0

    def after(self, used: Usage) -> "StageShare":
        """The share once one more attempt has used that."""
        return replace(self, spent=self.spent + used, attempts=self.attempts + 1)

    def after_taking_over(self, used: Usage) -> "StageShare":
        """The share once one more attempt counts that another run made."""
        share = replace(self, before=self.before + used, attempts_before=self.attempts_before + 1)
        return share.after(used)

    def to_json(self) -> JsonObject:
        """`taken_over`: how much of it another run did; not there where that is nothing."""
        said = _told(self.attempts, self.spent)
        return {**said, "taken_over": _told(self.attempts_before, self.before)} if self.attempts_before else said

    @property
    def tokens_left(self) -> int | None:
        return None if self.tokens is None else max(0, self.tokens - self.spent.tokens)

    @property
    def cost_usd_left(self) -> Decimal | None:
        return None if self.cost_usd is None else max(Decimal(0), self.cost_usd - self.spent.cost_usd)

    @property
    def exceeded(self) -> str:
        """Why what was used is too much; empty where it is not."""
        if self.tokens is not None and self.spent.tokens > self.tokens:
            return f"it used {self.spent.tokens} tokens, and {self.tokens} are its share"
        if self.cost_usd is not None and self.spent.cost_usd > self.cost_usd:
            return f"it cost ${self.spent.cost_usd}, and ${self.cost_usd} are its share"
        return ""

    @property
    def exhausted(self) -> str:
        """Why there can be no further attempt: as dear as those before on average, it would exceed the share. Empty
        where there can be one."""
        if not self.attempts:
            return ""
        tokens = self.spent.tokens + self.spent.tokens / self.attempts
        cost_usd = self.spent.cost_usd + self.spent.cost_usd / self.attempts
        if self.tokens is not None and tokens > self.tokens:
            return f"{self.spent.tokens} of its {self.tokens} tokens are used, and another attempt would exceed them"
        if self.cost_usd is not None and cost_usd > self.cost_usd:
            return f"${self.spent.cost_usd} of its ${self.cost_usd} are used, and another attempt would exceed them"
        return ""


def _told(attempts: int, used: Usage) -> JsonObject:
    return {"attempts": attempts, "tokens": used.tokens, "cost_usd": str(used.cost_usd)}
