"""The agent that sends things again, or what has taken their place."""

from examples.support.agent_kit import Agent, Outcome, Tools, Work, serve


class Replacements(Agent):
    name = "replacements"
    description = "Finds what can be sent instead, and sends it."
    skill = "Replace a broken product, with a substitute where it is discontinued"

    async def work(self, work: Work, tools: Tools) -> Outcome:
        if work.committing:
            return await self._ship(work, tools)
        order = await tools.call("orders__find_order", order_id=work.input["order_id"])
        product = await tools.call("orders__find_product", sku=order["sku"])
        offered = product
        if product["stock"] == 0 and product["substitute"]:
            offered = await tools.call("orders__find_product", sku=product["substitute"])
        difference = round(offered["price"] - order["paid"], 2)
        note = f", {product['name']} is discontinued" if offered is not product else ""
        method = str(work.input.get("method", "standard"))
        replacement = {"sku": offered["sku"], "name": offered["name"], "costs_more": difference}
        return Outcome(
            summary=f"Send {offered['name']} {method}{note}; it costs {difference:.2f} more.",
            value={"order_id": order["id"], "method": method, **replacement},
            writes={"replacement": replacement},
        )

    async def _ship(self, work: Work, tools: Tools) -> Outcome:
        plan = work.proposal
        sent = await tools.call("orders__ship", order_id=plan["order_id"], sku=plan["sku"], method=plan["method"])
        return Outcome(summary=f"Shipped {plan['name']} {plan['method']}.", value=sent)


if __name__ == "__main__":
    serve(Replacements())
