"""A customer with three wishes, of which one changes what another is worth; and what four patterns make of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from examples.stories.customer.comparison import compared
from examples.stories.customer.shop import calendar, orders
from examples.stories.kit import Agent, Answer, Ask, Asked, Failed, Story, Told, World, costs
from examples.support.agent_kit import Agent as SupportAgent
from examples.support.agent_kit import Work
from examples.support.refunds import Refunds
from examples.support.replacements import Replacements
from examples.support.scheduling import Scheduling
from examples.support.triage import TOMORROW, Triage

WISHES = (
    "My blender arrived broken (order {order}). Refund it, send a replacement overnight, "
    "and have a manager call me tomorrow."
)
PATTERNS = {"supervised": "A-1007", "routed": "A-1008", "in-line": "A-1009", "planned": "A-1010"}
"""Workflow -> the order it is asked about."""
TELLING = {"replacement": "costs_more", "refund": "amount"}
"""What is known -> the field by which a result that tells of it is recognised."""


def served(agent: SupportAgent) -> Agent:
    """An agent of the support desk. Where nobody asks it to propose first, it carries out at once what it would
    propose."""

    async def answer(asked: Asked) -> Answer:
        input_ = {**asked.data, **asked.input}
        work = Work(text=asked.text, input=input_, phase=asked.phase, known=_known(asked), token="")
        outcome = await agent.work(work, asked.tools)
        value, summary = outcome.value, outcome.summary
        if not asked.phase and outcome.commits:
            committing = replace(work, phase="commit", input={**input_, "proposal": value})
            done = await agent.work(committing, asked.tools)
            value, summary = {**value, **done.value}, done.summary
        said = {"summary": summary, "writes": dict(outcome.writes), "commits": outcome.commits}
        return {**value, "drawbridge": said}

    answer.__doc__ = agent.description
    return answer


def _known(asked: Asked) -> dict[str, Any]:
    """What it knows of the others' work: from the scratchpad, or from results it was handed."""
    handed: dict[str, Any] = {}
    for step in asked.results:
        value: dict[str, Any] = asked.of(step) or {}
        handed |= {name: value for name, telling in TELLING.items() if telling in value}
    return {**handed, **asked.known}


def chief(asked: Asked) -> Answer:
    """Plans what executors are to do, and words what came of it."""
    if "max_steps" not in asked.input:
        return " ".join(str(entry["summary"]) for entry in asked.results.values() if entry["summary"])
    return {
        "steps": [
            {"id": "replace", "instruction": "Replace the broken product"},
            # A planner that thinks of it lets the refund wait for what the replacement costs.
            {"id": "refund", "instruction": "Refund the order", "after": ["replace"]},
            {"id": "callback", "instruction": "Have a manager call", "after": ["replace", "refund"]},
        ]
    }


def executor(asked: Asked) -> Agent:
    """Whoever is meant by an instruction."""
    instruction = str(asked.input["instruction"])
    words: dict[str, SupportAgent] = {"Replace": Replacements(), "Refund": Refunds(), "Have": Scheduling()}
    return served(words[instruction.partition(" ")[0]])


async def junior(asked: Asked) -> Answer:
    """Does by the book what needs no judgement, and is cheap."""
    if str(asked.input["instruction"]).startswith("Replace"):
        raise Failed("Blender 200 is discontinued, and it is not for me to choose what takes its place")
    return await _done(executor(asked), asked)


async def senior(asked: Asked) -> Answer:
    """Does everything, at twenty times the price."""
    return await _done(executor(asked), asked)


async def _done(agent: Agent, asked: Asked) -> Answer:
    answer: Any = agent(asked)
    done: Answer = await answer
    return done


def epilogue(world: World, answers: Sequence[Told]) -> str:
    return compared(world, dict(zip(PATTERNS, answers, strict=True)), PATTERNS)


def ask(workflow: str, order: str) -> Ask:
    data = {"order_id": order, "method": "overnight", "day": TOMORROW}
    return Ask(workflow=workflow, message=WISHES.format(order=order), data=data)


STORY = Story(
    folder=Path(__file__).parent,
    agents={
        "triage": costs(served(Triage()), tokens=300, cost_usd="0.003"),
        "refunds": costs(served(Refunds()), tokens=200, cost_usd="0.002"),
        "replacements": costs(served(Replacements()), tokens=200, cost_usd="0.002"),
        "scheduling": costs(served(Scheduling()), tokens=200, cost_usd="0.002"),
        "chief": costs(chief, tokens=400, cost_usd="0.008"),
        "junior": costs(junior, tokens=200, cost_usd="0.0002"),
        "senior": costs(senior, tokens=200, cost_usd="0.004"),
    },
    servers={"orders": orders, "calendar": calendar},
    asks=tuple(ask(workflow, order) for workflow, order in PATTERNS.items()),
    epilogue=epilogue,
)
