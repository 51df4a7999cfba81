"""The first words with a program that has just been started: who it is, in the words of either era."""

from msgspec import Raw

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_conversation import Conversation
from adapters.mcp.client_eras import about_from_discover, about_from_initialize
from adapters.mcp.client_legacy import hello
from adapters.mcp.client_params import Outgoing, own_meta
from adapters.mcp.client_sessions import Key
from adapters.mcp.client_wire import UNSUPPORTED_VERSION
from adapters.mcp.wire import HANDSHAKE, Era, encode
from gateway.core.errors import GatewayError
from gateway.core.json import JsonObject, json_object, json_text


def own_request(method: str, params: JsonObject, era: Era) -> Outgoing:
    """A request in the gateway's own name."""
    meta = own_meta(era)
    if meta:
        params = {**params, "_meta": meta}
    return Outgoing(method=method, members={key: Raw(encode(value)) for key, value in params.items()})


async def discovered(conversation: Conversation, deadline_s: float) -> "JsonObject | None":
    """What a modern program says of itself; None where it does not, and may be a legacy one."""
    try:
        out = own_request("server/discover", {}, "modern")
        return about_from_discover(await conversation.ask(out, deadline_s, withdraw=False))
    except GatewayError:
        return None


async def initialized(conversation: Conversation, key: Key, answers: Answers, deadline_s: float) -> "JsonObject | None":
    """What a legacy program says to whoever it is to be for; None where it says that it is a modern one after all.

    That one was only slow to start. Raises: UpstreamFailed: it speaks no known version; see `Conversation.ask`.
    """
    try:
        said = await conversation.ask(hello(key), deadline_s, withdraw=False)
    except GatewayError as error:
        if json_object(error.detail.get("upstream")).get("code") == UNSUPPORTED_VERSION:
            return None
        raise
    if json_text(said.get("protocolVersion")) not in HANDSHAKE:
        raise answers.failed("speaks no protocol version the gateway knows")
    conversation.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return about_from_initialize(said)
