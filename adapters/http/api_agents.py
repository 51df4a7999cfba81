"""Agents over REST: list, show, register by their card's address, remove. A body names an address, never a command."""

from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_ports import AgentDirectory
from adapters.http.api_views import agent_view
from gateway.core.errors import NotFound
from gateway.core.json import json_from, json_text


class AgentEndpoints:
    def __init__(self, *, agents: AgentDirectory, recorder: Recorder) -> None:
        self._agents = agents
        self._recorder = recorder

    async def list_agents(self, call: Call) -> Response:
        return answer({"agents": [agent_view(each) for each in await self._agents.entries(call.tenant)]})

    async def get_agent(self, call: Call) -> Response:
        slug = call.path("slug")
        entry = next((each for each in await self._agents.entries(call.tenant) if each.slug == slug), None)
        if entry is None:
            raise NotFound("no such agent")
        return answer({"agent": {**agent_view(entry), "agentCard": json_from(entry.card)}})

    async def add_agent(self, call: Call) -> Response:
        url, slug = json_text(call.body.get("url")), json_text(call.body.get("slug"))
        async with self._recorder.change(call, "agents.add", f"agent:{slug}" if slug else "", {"url": url}):
            entry = await self._agents.register(call.who, url, slug)
        return answer({"agent": agent_view(entry)}, 201)

    async def remove_agent(self, call: Call) -> Response:
        slug = call.path("slug")
        async with self._recorder.change(call, "agents.remove", f"agent:{slug}"):
            await self._agents.unregister(call.who, slug)
        return Response(status_code=204)
