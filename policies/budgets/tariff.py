"""What a call costs whose answer does not say. Pure; exact to the last digit."""

from decimal import Context, Decimal

from gateway.core.limits import Usage
from gateway.core.model import Capability
from policies.budgets.settings import ModelPrice, PriceSettings, TargetPrice

MILLION = Decimal(10**6)
_EXACT = Context(prec=60)
"""Tokens and prices have at most 13 and 34 digits: nothing is ever rounded."""
_FREE = TargetPrice()
_CUTS = "-@:"
"""What stands between a model's name and its version."""


class Tariff:
    """The prices of one configuration."""

    def __init__(self, settings: PriceSettings) -> None:
        self._settings = settings

    def of(self, capability: Capability) -> TargetPrice:
        """What the agent or tool itself costs."""
        local = capability.name.partition(":")[2]
        if capability.kind == "agent":
            return self._settings.agents.get(local, _FREE)
        return self._settings.tools.get(local, _FREE)

    def counts(self, capability: Capability) -> bool:
        """Whether tokens are counted that its answers do not report."""
        if capability.kind == "agent":
            return self._settings.count_tokens
        return bool(self.of(capability).model)

    def cost(self, capability: Capability, usage: Usage) -> Decimal:
        """What a call costs that used this: what was reported, else what the call and its tokens cost."""
        if usage.cost_usd:
            return usage.cost_usd
        own = self.of(capability)
        model = self.model(*usage.models, own.model)
        cost = own.call_usd
        if model is None or not usage.tokens:
            return cost
        unsaid = max(0, usage.tokens - usage.input_tokens - usage.output_tokens)
        spent = _EXACT.add(
            _EXACT.multiply(Decimal(usage.input_tokens), model.input_usd),
            _EXACT.multiply(Decimal(usage.output_tokens), model.output_usd),
        )
        # Of which nobody said which they were: the dearer of the two, so that a budget holds.
        spent = _EXACT.add(spent, _EXACT.multiply(Decimal(unsaid), max(model.input_usd, model.output_usd)))
        return _EXACT.add(cost, _EXACT.divide(spent, MILLION))

    def model(self, *names: str) -> ModelPrice | None:
        """The price of the first of these models that has one: by its name, without its provider, without its
        version."""
        for name in names:
            for each in (name, name.rpartition("/")[2]):
                found = self._settings.models.get(each) or self._by_beginning(each)
                if found is not None:
                    return found
        return None

    def _by_beginning(self, name: str) -> ModelPrice | None:
        fits = [each for each in self._settings.models if name.startswith(tuple(each + cut for cut in _CUTS))]
        return self._settings.models[max(fits, key=len)] if fits else None
