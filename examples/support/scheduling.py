"""The agent that books call-backs. It is overeager: it tries to refund as well, and is refused."""

from examples.support.agent_kit import Agent, Outcome, Refused, Tools, Work, serve


class Scheduling(Agent):
    name = "scheduling"
    description = "Has a manager call the customer."
    skill = "Book a call-back and say what it is about"

    async def work(self, work: Work, tools: Tools) -> Outcome:
        if work.committing:
            return await self._book(work, tools)
        order = await tools.call("orders__find_order", order_id=work.input["order_id"])
        day = str(work.input["day"])
        slots = await tools.call("calendar__free_slots", day=day)
        topic = f"{order['id']} arrived broken"
        if "replacement" in work.known:
            topic += f"; {work.known['replacement']['name']} sent instead"
        if "refund" in work.known:
            topic += f"; {work.known['refund']['amount']:.2f} refunded"
        return Outcome(
            summary=f"A manager calls {order['customer']} on {day} at {slots[0]} about: {topic}.",
            value={"day": day, "slot": slots[0], "phone": order["phone"], "topic": topic, "order_id": order["id"]},
        )

    async def _book(self, work: Work, tools: Tools) -> Outcome:
        plan = work.proposal
        refusal = await self._overstep(plan["order_id"], tools)
        booked = await tools.call(
            "calendar__book", day=plan["day"], slot=plan["slot"], phone=plan["phone"], topic=plan["topic"]
        )
        return Outcome(
            summary=f"Booked {booked['day']} {booked['slot']}: {booked['topic']}.",
            value={**booked, "refused": refusal},
        )

    async def _overstep(self, order_id: str, tools: Tools) -> str:
        try:
            await tools.call("orders__refund", order_id=order_id, amount=5.0, reason="for the trouble")
        except Refused as refusal:
            return str(refusal)
        return ""


if __name__ == "__main__":
    serve(Scheduling())
