"""A subscription is judged before it is granted, and never granted where nothing will be told."""

import pytest

from gateway.core.errors import Denied, GatewayError, Unavailable
from gateway.core.json import JsonObject
from tests.fakes_mcp_door import Caller, ShopGateway, failing, opened, resource, together

pytestmark = pytest.mark.anyio

A, B = "file:///a", "file:///b"
SCOPE = Denied("not with this token", detail={"scopes": ["files"]})


def shop(error: GatewayError | None = None) -> ShopGateway:
    gateway = ShopGateway(resource(A), resource(B, "stock"))
    if error is not None:
        gateway.runs[f"resource:orders/{A}"] = failing(error)
    return gateway


def silent() -> ShopGateway:
    gateway = shop()
    gateway.abouts = {"orders": {"capabilities": {"resources": {}}}, "stock": {"capabilities": {"resources": {}}}}
    gateway.abouts["stock"] = {"capabilities": {"resources": {"subscribe": True}}}
    return gateway


@pytest.mark.parametrize(
    ("gateway", "status", "code"),
    [
        (shop(SCOPE), 403, 1403),
        (shop(Denied("no")), 200, 1403),
        (silent(), 200, -32601),
        (ShopGateway(resource(B)), 200, -32002),
    ],
    ids=["scope", "denied", "silent", "unknown"],
)
async def test_a_session_learns_why_it_will_hear_nothing(gateway: ShopGateway, status: int, code: int) -> None:
    async with opened(gateway) as door:
        caller = Caller(door)
        await caller.initialize()
        refused = await caller.say("resources/subscribe", {"uri": A})
        granted = await caller.say("resources/subscribe", {"uri": B})
        let_go = await caller.say("resources/unsubscribe", {"uri": A})
    assert (refused.status, refused.json["error"]["code"]) == (status, code)
    assert granted.json["result"] == let_go.json["result"] == {}
    assert gateway.requests[-1].operation == "subscribe"


async def test_what_is_out_of_reach_is_granted_and_heard_of_later() -> None:
    async with opened(shop(Unavailable("down"))) as door:
        caller = Caller(door)
        await caller.initialize()
        assert (await caller.say("resources/subscribe", {"uri": A})).json["result"] == {}


@pytest.mark.parametrize("gateway", [shop(Denied("no")), silent()], ids=["denied", "silent"])
async def test_a_modern_subscription_honours_what_may_be_told(gateway: ShopGateway) -> None:
    wanted: JsonObject = {"notifications": {"resourceSubscriptions": [A, B, "file:///nowhere"]}}
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", wanted)
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged")
        door.stop()
    assert visit.reply.events[0]["params"]["notifications"] == {"resourceSubscriptions": [B]}


async def test_a_modern_subscription_asks_for_the_token_it_needs() -> None:
    async with opened(shop(SCOPE)) as door:
        wanted: JsonObject = {"notifications": {"resourceSubscriptions": [A]}}
        reply = await Caller(door).ask("subscriptions/listen", wanted)
    assert (reply.status, reply.json["error"]["code"]) == (403, 1403)
    assert b"insufficient_scope" in reply.headers.get(b"www-authenticate", b"")
