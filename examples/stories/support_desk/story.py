"""Customers at a support desk: each request goes to the one worker whose it is, and can be handed on."""

from pathlib import Path

from examples.stories.kit import Answer, Ask, Asked, Failed, Story, costs, says

SURE = {"screen": ("technician", 0.9), "flashes": ("technician", 0.8), "weather": ("technician", 0.2)}
"""Word -> whose a request with it is, and how sure the classifier is of that."""


def triage(asked: Asked) -> Answer:
    """Says whose a request is, where no rule does."""
    words = str(asked.input["request"]).lower()
    worker, confidence = next((sure for word, sure in SURE.items() if word in words), ("none", 0.0))
    return {"worker": worker, "confidence": confidence}


def refunds(asked: Asked) -> Answer:
    """Gives money back; where an invoice is wrong, hands on to billing."""
    if "invoice" in asked.task:
        said = {"summary": "That is about an invoice; billing takes it from here.", "handoff": {"to": "billing"}}
        return {"drawbridge": said}
    return {"refund": 20, "drawbridge": {"summary": "You get 20.00 back.", "handoff": "done"}}


def billing(asked: Asked) -> Answer:
    """Corrects invoices; keeps the conversation until the customer says goodbye."""
    if "bye" in asked.task.lower():
        return {"drawbridge": {"summary": "You are welcome.", "handoff": "done"}}
    return {"corrected": True, "drawbridge": {"summary": "The invoice is corrected. Anything else?"}}


def technician(asked: Asked) -> Answer:
    """Repairs devices, as far as the manual goes."""
    if "flashes" in asked.task:
        raise Failed("the manual does not mention flashing")
    return {"fix": "restart", "drawbridge": {"summary": "Turn it off and on again."}}


STORY = Story(
    folder=Path(__file__).parent,
    agents={
        "triage": costs(triage, tokens=80, cost_usd="0.0008"),
        "refunds": costs(refunds, tokens=150, cost_usd="0.0015"),
        "billing": costs(billing, tokens=150, cost_usd="0.0015"),
        "technician": costs(technician, tokens=150, cost_usd="0.0015"),
        "technician-b": says({"fix": "replace the battery"}, summary="Replace the battery."),
        "clerk": says({"ticket": 17}, summary="Somebody will look into it: ticket 17."),
    },
    asks=(
        Ask(workflow="desk", message="I want my money back for the kettle"),
        Ask(workflow="desk", message="The screen is black"),
        Ask(workflow="desk", message="The lamp flashes"),
        Ask(workflow="desk", message="Nice weather"),
        Ask(workflow="desk", message="I want a refund, the invoice is wrong"),
        Ask(workflow="desk", message="A refund for the kettle, and is invoice 4711 paid?"),
    ),
)
