"""What several rounds of work came to, for whoever does the next: the latest whole, the earlier ones in few words.

Without somebody who summarises, each earlier result is handed on with its own summary. With somebody, what earlier
rounds came to is one text, which grows by a round at a time: nobody is told again what it says already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.json import Json, JsonObject, json_object, json_text
from gateway.core.labels import join_all
from gateway.core.ports.orchestration import StepResult, Steps
from gateway.patterns.shared.roles import Role, words_of
from gateway.patterns.shared.views import in_summary

EARLIER = "earlier_rounds"
"""Under which name the account of all earlier rounds is handed on."""
ASKED = (
    "Say in at most 150 words what these rounds of work have found that matters for the next one, and nothing else; "
    "`so_far` is what you said of the rounds before them."
)
SUMMARY_S = 30.0
"""Longest a summary may take where the role does not say."""
ACCOUNT_CHARS = 1200


@dataclass(slots=True, kw_only=True)
class Rounds:
    """What is known of the rounds of one run."""

    summariser: Role | None
    _account: StepResult | None = None
    _told: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """What the account is of: by name, which attempt at which step."""

    async def handed(
        self, earlier: Mapping[str, StepResult], latest: Mapping[str, StepResult], steps: Steps
    ) -> dict[str, StepResult]:
        """Results for the next round. An earlier one keeps its name, by which it can still be asked for."""
        account = await self.account(earlier, steps) if earlier else None
        if account is None:
            return {**{name: in_summary(each) for name, each in earlier.items()}, **latest}
        mere = {name: replace(each, value=None, text="", summary="") for name, each in earlier.items()}
        return {EARLIER: account, **mere, **latest}

    async def account(self, earlier: Mapping[str, StepResult], steps: Steps) -> StepResult | None:
        """What all of them came to, in one text; None where nobody says it."""
        role = self.summariser
        return self._account if role is not None and await self._summed_up(role, earlier, steps) else None

    async def _summed_up(self, role: Role, earlier: Mapping[str, StepResult], steps: Steps) -> bool:
        """Whether there is an account of all of them."""
        new = {name: each for name, each in earlier.items() if self._told.get(name) != (each.id, each.attempts)}
        if not new:
            return True
        value: JsonObject = {name: _said(each) for name, each in new.items()}
        if self._account is not None:
            value = {"so_far": self._account.summary, **value}
        known = () if self._account is None else (self._account.labels,)
        labels = join_all((*known, *(each.labels for each in new.values())))
        node = role.node({"instruction": ASKED, "value": value})
        # It changes nothing outside.
        asked = replace(node, labels=labels, phase="propose", timeout_s=role.timeout_s or SUMMARY_S)
        said = await steps.call(asked)
        words = json_text(json_object(said.answer).get("summary")) or words_of(said)
        if not said.ok or not words:
            return False
        self._account = replace(said, value=None, text="", summary=words[:ACCOUNT_CHARS])
        self._told |= {name: (each.id, each.attempts) for name, each in new.items()}
        return True


def _said(result: StepResult) -> Json:
    return result.answer if result.ok else {"error": result.error, "reason": result.reason}
