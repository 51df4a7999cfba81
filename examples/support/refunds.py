"""The agent that gives money back. It pays the difference only, once it knows what the replacement costs."""

from examples.support.agent_kit import Agent, Outcome, Tools, Work, serve


class Refunds(Agent):
    name = "refunds"
    description = "Works out what a customer gets back, and pays it."
    skill = "Refund an order, less what a replacement costs more"

    async def work(self, work: Work, tools: Tools) -> Outcome:
        if work.committing:
            return await self._pay(work, tools)
        order = await tools.call("orders__find_order", order_id=work.input["order_id"])
        difference = float(work.known.get("replacement", {}).get("costs_more", 0.0))
        amount = round(order["paid"] - difference, 2)
        return Outcome(
            summary=f"Refund {amount:.2f} of the {order['paid']:.2f} paid for {order['id']}.",
            value={"order_id": order["id"], "amount": amount},
            writes={"refund": {"amount": amount}},
        )

    async def _pay(self, work: Work, tools: Tools) -> Outcome:
        order_id, amount = work.proposal["order_id"], work.proposal["amount"]
        paid = await tools.call("orders__refund", order_id=order_id, amount=amount, reason="arrived broken")
        return Outcome(summary=f"Refunded {paid['refunded']:.2f} for {order_id}.", value=paid)


if __name__ == "__main__":
    serve(Refunds())
