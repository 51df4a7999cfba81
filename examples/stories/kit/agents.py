"""Agents as plain functions, and agents made of other agents. Knows no protocol."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import anyio

from examples.support.agent_kit import Tools


class Failed(Exception):
    """The agent could not do it; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One step, as the agent that works on it sees it."""

    agent: str
    text: str
    """What it is told to do, in words."""
    input: Mapping[str, Any]
    """Its own fields."""
    task: str = ""
    """The original request in words, as far as it is told."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The data of the original request, as far as it is told."""
    phase: str = ""
    """`propose`, `commit`, or empty."""
    note: str = ""
    """Why it is asked again."""
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    """Earlier results it is handed: `summary` and `value` each, by name."""
    known: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Scratchpad keys it is handed, with their values."""
    time: int = 1
    """The how manieth time this agent is asked since the world began."""
    message_id: str = ""
    context_id: str = ""
    said: str = ""
    """Everything that reached it, as one text: to look for what must not."""
    tools: Tools = field(default_factory=lambda: Tools("", ""))
    """Tools behind the gateway, under the step's token."""

    def of(self, step: str) -> Any:
        """The value of an earlier result."""
        return self.results[step]["value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an agent answers."""

    value: Mapping[str, Any] = field(default_factory=dict[str, Any])
    text: str = ""
    """Where there is no value; beside one, the summary is said in words."""
    said: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The member `drawbridge`: `summary`, `writes`, `commits`, `handoff`, `bid`, `findings`, `publish`, ..."""
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What it reports of tokens, cost and model."""


Answer: TypeAlias = "Mapping[str, Any] | str | Reply"
"""A mapping may have the member `drawbridge` within."""
Agent: TypeAlias = "Callable[[Asked], Answer | Awaitable[Answer]]"


async def reply_of(agent: Agent, asked: Asked) -> Reply:
    """What the agent answers. Raises: Failed, and Refused: it could not."""
    answer = agent(asked)
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, str):
        return Reply(text=answer)
    value = dict(answer)
    return Reply(said=value.pop("drawbridge", {}), value=value)


def says(value: Mapping[str, Any] | str, **said: Any) -> Agent:
    """Always the same answer; `said` is what the member `drawbridge` has: `summary`, `writes`, `handoff`, ..."""
    reply = Reply(text=value, said=said) if isinstance(value, str) else Reply(value=value, said=said)
    return lambda asked: reply


def fails(reason: str = "it failed") -> Agent:
    """Never an answer."""

    def agent(asked: Asked) -> Answer:
        raise Failed(reason)

    return agent


def hangs() -> Agent:
    """Never done."""

    async def agent(asked: Asked) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    return agent


def takes(seconds: float, agent: Agent) -> Agent:
    """The same agent, slower."""

    async def slow(asked: Asked) -> Answer:
        await anyio.sleep(seconds)
        return await reply_of(agent, asked)

    return like(agent, slow)


def costs(agent: Agent, *, tokens: int = 0, cost_usd: str = "", model: str = "") -> Agent:
    """The same agent, at a price, which it reports in the metadata of its artifact."""
    spent: dict[str, Any] = {"total_tokens": tokens, "cost_usd": cost_usd, "model": model}

    async def priced(asked: Asked) -> Answer:
        reply = await reply_of(agent, asked)
        return replace(reply, usage={name: each for name, each in spent.items() if each})

    return like(agent, priced)


def in_turn(*agents: Agent) -> Agent:
    """The first time like the first, the next like the next, and from then on like the last."""
    return lambda asked: agents[min(asked.time, len(agents)) - 1](asked)


def fails_on(agent: Agent, *times: int, reason: str = "it failed") -> Agent:
    """The same agent, which fails at these of the times it is asked, the first being 1."""

    def moody(asked: Asked) -> Answer | Awaitable[Answer]:
        if asked.time in times:
            raise Failed(reason)
        return agent(asked)

    return like(agent, moody)


def together(number: int, agent: Agent) -> Agent:
    """The same agent, which answers only once it is asked by so many at the same time: a race, whenever it is run."""
    waiting: list[anyio.Event] = []

    async def patient(asked: Asked) -> Answer:
        there = anyio.Event()
        waiting.append(there)
        if len(waiting) == number:
            for each in waiting:
                each.set()
            waiting.clear()
        await there.wait()
        return await reply_of(agent, asked)

    return like(agent, patient)


def like(agent: Agent, other: Agent) -> Agent:
    """The other one, under the first one's description."""
    other.__doc__ = agent.__doc__
    return other
