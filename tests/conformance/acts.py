"""What each scenario of the suite asks of a client, done with the official Python SDK."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequestFormParams, ElicitRequestParams, ElicitRequestURLParams, ElicitResult

from tests.conformance.visits import Visit


async def _defaults(context: Any, params: ElicitRequestParams) -> ElicitResult:
    """Whoever fills in nothing accepts what the form says already."""
    assert isinstance(params, ElicitRequestFormParams)
    fields = params.requested_schema["properties"]
    return ElicitResult(action="accept", content={name: said.get("default", True) for name, said in fields.items()})


async def _use(visit: Visit) -> None:
    """List the tools and call the first."""
    # Whoever can be asked keeps a stream open to hear of it, and not every scenario's server ends with one open.
    able: dict[str, Any] = {"elicitation_callback": _defaults} if visit.scenario.startswith("elicitation") else {}
    if (opens := visit.opens) is not None:

        async def open_page(context: Any, params: ElicitRequestParams) -> ElicitResult:
            assert isinstance(params, ElicitRequestURLParams)
            await opens(params.url)
            return ElicitResult(action="accept")

        able = {"elicitation_callback": open_page}
    async with visit.client(**able) as client:
        for tool in (await client.list_tools()).tools[:1]:
            await client.call_tool(tool.name, {"a": 2, "b": 3} if tool.name == "add_numbers" else {})


async def _list(visit: Visit) -> None:
    async with visit.client() as client:
        await client.list_tools()


async def _agree_and_list(visit: Visit) -> None:
    await _list(replace(visit, negotiates=True))


async def _use_each(visit: Visit) -> None:
    """Call every tool there is, whatever comes of it."""
    async with visit.client(elicitation_callback=_defaults) as client:
        for tool in (await client.list_tools()).tools:
            with suppress(MCPError, ValueError):
                await client.call_tool(tool.name, {})


async def _use_everything(visit: Visit) -> None:
    async with visit.client() as client:
        await client.call_tool((await client.list_tools()).tools[0].name, {})
        await client.read_resource(str((await client.list_resources()).resources[0].uri))
        await client.get_prompt((await client.list_prompts()).prompts[0].name)


async def _call_as_told(visit: Visit) -> None:
    async with visit.client() as client:
        await client.list_tools()
        for call in visit.context["toolCalls"]:
            await client.call_tool(call["name"], call["arguments"])


async def _say_the_schema_back(visit: Visit) -> None:
    async with visit.client() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


_ACTS: dict[str, Callable[[Visit], Awaitable[None]]] = {
    "request-metadata": _agree_and_list,
    "json-schema-ref-no-deref": _list,
    "json-schema-2020-12-preservation": _say_the_schema_back,
    "sep-2322-client-request-state": _use_each,
    "http-standard-headers": _use_everything,
    "http-custom-headers": _call_as_told,
    "http-invalid-tool-headers": _use_each,
}


async def act(visit: Visit) -> None:
    """Do what the scenario is about."""
    await _ACTS.get(visit.scenario, _use)(visit)
