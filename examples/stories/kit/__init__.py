"""What the stories are told with: agents and tools as plain functions, and a world in which they really talk.

A story is a folder with a `gateway.yaml`, a `README.md` and a `story.py` that ends in `STORY`:

    def clerk(asked: Asked) -> Answer:                       # an A2A agent; may be `async`, and raise Failed
        return {"amount": 5, "drawbridge": {"summary": "Refund 5.", "writes": {"refund": 5}}}

    async def payer(asked: Asked) -> Answer:                 # calls a tool through the gateway, under its step's token
        paid = await asked.tools.call("bank__pay", amount=asked.input["amount"])
        return {"paid": paid}

    def bank(effects: Effects) -> Functions:                     # an MCP server; one log of effects a telling
        def pay(amount: float, idempotency_key: str) -> dict[str, Any]:
            effects.once("pay", idempotency_key, amount=amount)
            return {"paid": amount}
        return {"pay": pay}

    STORY = Story(
        folder=Path(__file__).parent,
        agents={"clerk": costs(takes(0.1, clerk), tokens=120, cost_usd="0.002"), "payer": payer},
        servers={"bank": bank},
        asks=(Ask(workflow="help", message="Refund me", data={"order": "A-1"}),),
    )

In the YAML agents and servers have any address (a free port of 127.0.0.1 takes its place), agents that call tools have
`key: "env:NAME_KEY", delegation: true`, and there is a principal `ana` with `key: "env:ANA_KEY"`.

Agents (kit/agents.py) are made of others: `says`, `fails`, `hangs`, `takes`, `costs`, `in_turn`, `fails_on`, and
`together`, which makes a race of it. What an agent's card says stands in `Story.cards`; without one it is the first
line of its docstring. `Asked` is one step as an agent sees it: `text`, `input`, `task`, `data`, `phase`, `note`,
`results`, `known`, `time` (the how manieth), `tools`.

A world (kit/world.py) tells a story: the agents and servers in this process, the gateway in one of its own.

    with telling(STORY, folder) as world:
        told = world.ask(Ask(workflow="help", message="Refund me"))     # by MCP; `world.ask_a2a` by A2A
        told.text, told.answer, told.gaps, told.said, told.run          # `said`: all of the structured answer
        both = world.ask_together(one, other)                           # side by side
        shown = world.explained(told.run)                               # what `runs show --json` has as `explanation`
        world.asked["clerk"], world.effects["bank"].done("pay")         # what agents were asked, what tools did
        world.audit(outcome="denied"), world.api("/runs")               # the audit log, anything of the REST API
        world.crash_at(3)                                               # kill -9 when the third call from now arrives

`python -m examples.stories NAME [--crash N]` does the same, and prints. In tests: the fixture `tell` of tests/examples.
"""

from examples.stories.kit.agents import (
    Agent,
    Answer,
    Asked,
    Failed,
    Reply,
    costs,
    fails,
    fails_on,
    hangs,
    in_turn,
    says,
    takes,
    together,
)
from examples.stories.kit.callers import Told
from examples.stories.kit.effects import Effect, Effects, Functions
from examples.stories.kit.story import Ask, Card, Story
from examples.stories.kit.world import StoryFailed, World, telling
from examples.support.agent_kit import Refused

__all__ = [
    "Agent",
    "Answer",
    "Ask",
    "Asked",
    "Card",
    "Effect",
    "Effects",
    "Failed",
    "Functions",
    "Refused",
    "Reply",
    "Story",
    "StoryFailed",
    "Told",
    "World",
    "costs",
    "fails",
    "fails_on",
    "hangs",
    "in_turn",
    "says",
    "takes",
    "telling",
    "together",
]
