"""What is wrong with a workflow as it is built: too many agents, too many tools, agents that are one. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gateway.orchestration.runs.advice.choice import TOOLS_AT_MOST

AGENTS_AT_MOST = 10
"""In one workflow; with more, coordination costs more than it gains."""


def of_workflow(
    agents: Sequence[str], tools: Mapping[str, frozenset[str]], in_order: Iterable[tuple[str, str]]
) -> Iterator[str]:
    """`tools`: which tools each agent may call; `in_order`: agents of which one is always called after the other."""
    if len(agents) > AGENTS_AT_MOST:
        yield (
            f"{len(agents)} agents are more than {AGENTS_AT_MOST}: group them into workflows of their own, or give "
            "several tasks to one agent"
        )
    for agent in agents:
        own = tools.get(agent, frozenset())
        if len(own) > TOOLS_AT_MOST:
            most = f"more than the {TOOLS_AT_MOST} an agent chooses among well"
            yield f"{agent} may call {len(own)} tools, {most}: split it, or grant it less"
    for first, second in in_order:
        shared = tools.get(first, frozenset()) & tools.get(second, frozenset())
        smaller = min(len(tools.get(first, frozenset())), len(tools.get(second, frozenset())))
        if shared and 2 * len(shared) >= smaller:
            yield (
                f"{first} and {second} are always called one after the other and share "
                f"{', '.join(sorted(shared)[:5])}: one agent may do both, with one hand-over less"
            )
