"""What is wrong with a workflow as it is built: too many agents, too many tools, agents that are one. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from gateway.orchestration.advice.choice import TOOLS_AT_MOST

AGENTS_AT_MOST = 10
"""In one workflow; with more, coordination costs more than it gains."""


def of_workflow(agents: Sequence[str], tools: Mapping[str, frozenset[str]], in_order: Sequence[str]) -> Iterator[str]:
    """`tools`: which tools each agent may call; `in_order`: agents that are always called one after another."""
    if len(agents) > AGENTS_AT_MOST:
        yield (
            f"{len(agents)} agents are more than {AGENTS_AT_MOST}: group them into workflows of their own, or give "
            "several tasks to one agent"
        )
    for agent in agents:
        own = tools.get(agent, frozenset())
        if len(own) > TOOLS_AT_MOST:
            yield f"{agent} calls {len(own)} tools, more than the {TOOLS_AT_MOST} an agent chooses among well: split it"
    for first, second in pairwise(in_order):
        shared = tools.get(first, frozenset()) & tools.get(second, frozenset())
        smaller = min(len(tools.get(first, frozenset())), len(tools.get(second, frozenset())))
        if shared and 2 * len(shared) >= smaller:
            yield (
                f"{first} and {second} are always called one after the other and share "
                f"{', '.join(sorted(shared)[:5])}: one agent may do both, with one hand-over less"
            )
