"""The agent that plans: it reads the customer's message by rule and gives a task graph. No model is needed."""

import re
from typing import Any

from examples.support.agent_kit import Agent, Outcome, Tools, Work, serve

KNOWN_ORDER = "A-1007"
"""What a shop would look up from who is writing."""
TOMORROW = "2026-11-22"


class Triage(Agent):
    name = "triage"
    description = "Turns a customer's message into a plan."
    skill = "Plan refunds, replacements and call-backs"

    async def work(self, work: Work, tools: Tools) -> Outcome:
        text = work.text.lower()
        named = re.search(r"\b[A-Z]-\d{4}\b", work.text)
        order_id = named.group() if named else KNOWN_ORDER
        steps: list[dict[str, Any]] = []
        if "refund" in text:
            steps.append(_step("refund", "refunds", {"order_id": order_id}, reads=["replacement"]))
        if "replace" in text:
            method = "overnight" if "overnight" in text else "standard"
            steps.append(_step("replace", "replacements", {"order_id": order_id, "method": method}))
        if "call me" in text or "manager" in text:
            call = _step(
                "callback", "scheduling", {"order_id": order_id, "day": TOMORROW}, reads=["replacement", "refund"]
            )
            steps.append({**call, "optional": True})
        names = ", ".join(step["id"] for step in steps)
        return Outcome(summary=f"Plan: {names}.", value={"steps": steps}, commits=False)


def _step(name: str, agent: str, data: dict[str, Any], reads: list[str] | None = None) -> dict[str, Any]:
    return {"id": name, "agent": agent, "input": data, "after": [], "reads": reads or []}


if __name__ == "__main__":
    serve(Triage())
