"""Answers for a set that is searched: what its three tools do before anything of the one path begins."""

import anyio

from adapters.mcp import meta_tools
from adapters.mcp.knock import Knock
from adapters.mcp.offers import Offers
from adapters.mcp.refusals import INVALID_PARAMS, RpcRefusal, error_result
from adapters.mcp.set_settings import SetSettings
from adapters.mcp.views import View
from adapters.mcp.wire import as_text, decode_value
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject, json_object
from gateway.core.ports.tool_search import ToolIndex


class Finding:
    """Indexes are made when somebody first searches, and live as long as the view they are of."""

    def __init__(self) -> None:
        self._making = anyio.Lock()

    async def answer(self, knock: Knock, view: View, settings: SetSettings, offers: Offers) -> bytes | None:
        """The result of `search` and `describe`; None where the message is, or has been made, a call of a real tool.

        Raises: RpcRefusal: the arguments are wrong.
        """
        params = knock.message.params
        name = as_text(params.get("name"))
        if name not in ("search", "describe", "call"):
            raise RpcRefusal(INVALID_PARAMS, "there are three tools here: search, describe and call")
        if name == "call":
            meta_tools.unwrapped(params)
            knock.wrapped = True
            return None
        arguments = _arguments(knock)
        entries = view.entries("tools")
        if name == "describe":
            return meta_tools.described(entries, arguments, knock.era, view.outward)
        try:
            index = await self._index(view, settings, offers)
            return await meta_tools.searched(index, entries, arguments, knock.era)
        except GatewayError as error:
            return error_result(error, knock.era)

    async def _index(self, view: View, settings: SetSettings, offers: Offers) -> ToolIndex:
        async with self._making:
            if view.index is None:
                search = offers.engine(settings.engine)(settings.options)
                view.index = await search.index(meta_tools.documents(view.entries("tools")))
            return view.index


def _arguments(knock: Knock) -> JsonObject:
    raw = knock.message.params.get("arguments")
    return {} if raw is None else json_object(decode_value(bytes(raw)))
