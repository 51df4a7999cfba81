"""An agent as an upstream: real a2a-sdk agents on real sockets."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from adapters.a2a.card import DELEGATION, card_url
from adapters.a2a.client import A2aUpstream
from gateway.core.content import Content, Plain
from gateway.core.errors import DeadlineExceeded, Denied, InDoubt, InvalidRequest, UpstreamFailed
from gateway.core.json import Json
from gateway.core.limits import Bounds, Budget
from gateway.core.model import (
    ArtifactAdded,
    Complete,
    Event,
    InputRequired,
    Principal,
    Remembering,
    Request,
    Result,
    StatusChanged,
    TaskOpened,
    ignore_event,
)
from gateway.core.ports.orchestration import Node
from gateway.orchestration.records.orders import Order
from tests.fakes_a2a import ANA, BOB, Deeds, Heard, fetch_card, real_agent, saying, upstream_to

pytestmark = pytest.mark.anyio


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
async def agent(deeds: Deeds) -> AsyncIterator[str]:
    async with real_agent(deeds) as url:
        yield url


def asking(
    content: Content,
    *,
    who: Principal = ANA,
    protocol: str = "run",
    within_s: float = 60.0,
    continuation: str = "",
    **meta: Json,
) -> Request:
    return Request(
        id="req_1",
        principal=who,
        capability="agent:refunds",
        operation="call",
        budget=Budget(deadline_s=anyio.current_time() + within_s),
        body=Plain(content),
        protocol=protocol,
        continuation=continuation,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        meta=meta,
    )


async def call(upstream: A2aUpstream, request: Request, heard: Heard | None = None) -> Result:
    listing = await upstream.capabilities()
    with anyio.fail_after(60):
        return await upstream.call(request, listing.capabilities[0], heard or ignore_event)


def kinds(events: list[Event]) -> list[str]:
    return [
        event.state.value if isinstance(event, StatusChanged) else type(event).__name__
        for event in events
        if isinstance(event, TaskOpened | StatusChanged | ArtifactAdded)
    ]


@pytest.mark.parametrize(("delegation", "personal"), [(False, False), (True, True), ("required", True)])
async def test_what_an_agent_says_is_remembered_for_whoever_it_acts_for(
    agent: str, delegation: bool | str, personal: bool
) -> None:
    remembered = upstream_to(agent, deterministic=True, cache_ttl_s=60, concurrency=2, queue=3, delegation=delegation)
    async with remembered as upstream:
        (capability,) = (await upstream.capabilities()).capabilities
    assert capability.remembering == Remembering(ttl_s=60, fresh=True, stale=False, personal=personal)
    assert capability.bounds == Bounds(owner_concurrency=2, owner_queue=3)


async def test_the_card_becomes_one_capability_with_its_skills_as_tags(agent: str) -> None:
    async with upstream_to(agent, tags=("write",), idempotent=True, timeout_s=7.0) as upstream:
        listing = await upstream.capabilities()

    (capability,) = listing.capabilities
    assert (capability.name, capability.kind, capability.effect) == ("agent:refunds", "agent", "sink")
    assert capability.tags == {"write", "skill:money"}
    assert (capability.title, capability.idempotency, capability.timeout_s) == ("Refunds", "meta", 7.0)
    assert listing.about["digest"] == capability.digest


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_step_is_sent_as_a_message_and_followed_to_its_artifacts(deeds: Deeds, streaming: bool) -> None:
    heard = Heard()
    async with real_agent(deeds, streaming=streaming) as url, upstream_to(url) as upstream:
        request = asking(saying("refund it", {"order": 7}), message_id="run_1/2", context_id="run_1/2")
        result = await call(upstream, request, heard)

    assert isinstance(result, Complete)
    assert not result.is_error
    assert result.body.content().structured == {"said": "refund it"}
    assert result.body.content().text == "done: \nmore"
    assert result.labels.untrusted == {"agent:refunds"}
    (message,) = deeds.messages
    assert (message["messageId"], message["contextId"]) == ("run_1/2", "run_1/2")
    assert message["parts"][1]["data"] == {"order": 7.0}
    assert isinstance(heard.events[0], TaskOpened)
    if streaming:
        assert kinds(heard.events) == ["TaskOpened", "working", "ArtifactAdded", "ArtifactAdded", "completed"]


async def test_a_trusted_agents_answer_carries_no_label(agent: str) -> None:
    async with upstream_to(agent, trust="trusted") as upstream:
        result = await call(upstream, asking(saying("hello")))

    assert not result.labels


async def test_arguments_from_another_protocol_become_words_and_data(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        arguments = Content(structured={"message": "echo hi", "data": {"n": 1}})
        await call(upstream, asking(arguments, protocol="mcp"))

    assert [sorted(part.keys() - {"mediaType"}) for part in deeds.messages[0]["parts"]] == [["text"], ["data"]]


async def test_an_agent_that_answers_with_a_message_completes(agent: str) -> None:
    heard = Heard()
    async with upstream_to(agent) as upstream:
        result = await call(upstream, asking(saying("message")), heard)

    assert isinstance(result, Complete)
    assert result.body.content().text == "just words"
    assert heard.events == []


async def test_a_failed_task_is_an_answer_that_says_so(agent: str) -> None:
    async with upstream_to(agent) as upstream:
        result = await call(upstream, asking(saying("fail")))

    assert isinstance(result, Complete)
    assert result.is_error
    assert result.body.content().text == "no stock"


async def test_an_agent_that_asks_back_is_answered_in_the_same_task(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        asked = await call(upstream, asking(saying("ask")))
        assert isinstance(asked, InputRequired)
        assert asked.body.content().text == "how much?"
        with pytest.raises(InvalidRequest):
            await call(upstream, asking(saying("12"), who=BOB, continuation=asked.state))
        answered = await call(upstream, asking(saying("12"), continuation=asked.state))

    assert isinstance(answered, Complete)
    assert answered.body.content().structured == {"said": "12"}
    assert len({message.get("taskId") for message in deeds.messages[1:]}) == 1
    assert deeds.messages[1]["taskId"]


async def test_an_agent_that_wants_credentials_fails_the_call_and_is_let_go(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        with pytest.raises(UpstreamFailed, match="credentials"):
            await call(upstream, asking(saying("auth")))

    assert len(deeds.canceled) == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_the_delegation_token_goes_only_to_agents_that_know_it(deeds: Deeds, declared: bool) -> None:
    extensions = (DELEGATION,) if declared else ()
    async with real_agent(deeds, extensions=extensions) as url, upstream_to(url) as upstream:
        await call(upstream, asking(saying("hello"), delegation="tok"))

    message = deeds.messages[0]
    assert message.get("metadata", {}).get(DELEGATION) == ({"token": "tok"} if declared else None)
    assert message.get("extensions", []) == ([DELEGATION] if declared else [])
    assert deeds.headers[0].get("a2a-extensions", "") == (DELEGATION if declared else "")


async def test_the_entrys_own_headers_are_sent_and_the_callers_credential_is_not(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent, headers={"Authorization": "env:UPSTREAM_KEY"}) as upstream:
        await call(upstream, asking(saying("hello")))

    assert deeds.headers[0]["authorization"] == "s3cret"
    assert deeds.headers[0]["a2a-version"] == "1.0"
    assert deeds.headers[0]["traceparent"].startswith("00-0af7")


@pytest.mark.parametrize("protocol", ["run", "a2a"])
async def test_a_canceled_call_cancels_the_task_unless_an_a2a_client_merely_left(
    deeds: Deeds, agent: str, protocol: str
) -> None:
    async with upstream_to(agent) as upstream:
        heard = Heard()
        async with anyio.create_task_group() as group:
            group.start_soon(call, upstream, asking(saying("wait"), protocol=protocol, stream=True), heard)
            with anyio.fail_after(120):
                await deeds.working.wait()
                await heard.first.wait()
            group.cancel_scope.cancel()

    assert len(deeds.canceled) == (1 if protocol == "run" else 0)


async def test_going_down_cancels_no_task(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream, anyio.create_task_group() as group:
        group.start_soon(call, upstream, asking(saying("wait"), within_s=30.0))
        with anyio.fail_after(120):
            await deeds.working.wait()
        upstream.leave()
        group.cancel_scope.cancel()

    assert deeds.canceled == []


async def test_at_the_deadline_the_task_is_canceled(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        with pytest.raises(DeadlineExceeded):
            await call(upstream, asking(saying("wait"), within_s=3))

    assert len(deeds.canceled) == 1


async def test_a_policy_that_stops_the_stream_stops_the_agent(deeds: Deeds, agent: str) -> None:
    async def refuse(event: Event) -> None:
        if isinstance(event, StatusChanged):
            raise Denied("not to be seen")

    async with upstream_to(agent) as upstream:
        listing = await upstream.capabilities()
        with pytest.raises(Denied):
            await upstream.call(asking(saying("wait"), protocol="a2a", stream=True), listing.capabilities[0], refuse)

    assert len(deeds.canceled) == 1


async def test_a_step_that_another_run_tries_again_is_answered_under_the_context_it_was_given(agent: str) -> None:
    """As after `dead retry`: its message id names both runs, and agents give a context back as they were given it."""
    node = Node(target="agent:refunds", input={})
    redone = Order(run_id="run_3", id="run_1/2", name="2", node=node, first_attempt=1, until_s=1.0, home="run_3")
    async with upstream_to(agent) as upstream:
        name = redone.message_id
        result = await call(upstream, asking(saying("hello"), message_id=name, context_id=name))

    assert name == "run_1/2@run_3"
    assert isinstance(result, Complete)
    assert not result.is_error


async def test_a_step_resumes_the_task_it_had(deeds: Deeds, agent: str) -> None:
    heard = Heard()
    async with upstream_to(agent) as upstream:
        first = await call(upstream, asking(saying("hello"), context_id="run_1/2"))
        assert isinstance(first, Complete)
        again = await call(upstream, asking(saying("hello"), resume={"task": first.meta["task"]}), heard)

    assert isinstance(again, Complete)
    assert again.body.content().structured == first.body.content().structured
    assert again.body.content().text == first.body.content().text
    assert kinds(heard.events) == ["TaskOpened"]
    assert len(deeds.messages) == 1


async def test_a_step_whose_task_is_still_running_is_followed_to_its_end(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        await upstream.capabilities()
        heard = Heard()
        async with anyio.create_task_group() as group:
            group.start_soon(call, upstream, asking(saying("wait"), protocol="a2a", stream=True), heard)
            with anyio.fail_after(120):
                await deeds.working.wait()
                await heard.first.wait()
            group.cancel_scope.cancel()
        opened = heard.events[0]
        assert isinstance(opened, TaskOpened)
        results: list[Result] = []

        async def resume() -> None:
            results.append(await call(upstream, asking(saying("wait"), resume={"task": opened.task.id}), resumed))

        resumed = Heard()
        async with anyio.create_task_group() as group:
            group.start_soon(resume)
            with anyio.fail_after(120):
                await resumed.first.wait()
            deeds.release.set()

    (result,) = results
    assert isinstance(result, Complete)
    assert kinds(resumed.events)[-1] == "completed"
    assert len(deeds.messages) == 1


async def test_a_step_without_a_known_task_is_found_by_its_context(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        await call(upstream, asking(saying("hello"), context_id="run_1/2"))
        found = await call(upstream, asking(saying("hello"), context_id="run_1/2", resume={"task": ""}))

    assert isinstance(found, Complete)
    assert len(deeds.messages) == 1


@pytest.mark.parametrize("task", ["", "gone"])
async def test_a_step_nobody_knows_of_is_sent_again_only_to_an_idempotent_agent(
    deeds: Deeds, agent: str, task: str
) -> None:
    request = asking(saying("hello"), context_id="run_9/1", message_id="run_9/1", resume={"task": task})
    async with upstream_to(agent) as upstream:
        with pytest.raises(InDoubt):
            await call(upstream, request)
    assert deeds.messages == []

    async with upstream_to(agent, idempotent=True) as upstream:
        result = await call(upstream, request)
    assert isinstance(result, Complete)
    assert len(deeds.messages) == 1


async def test_an_agent_without_streaming_refuses_a_relayed_stream(deeds: Deeds) -> None:
    async with real_agent(deeds, streaming=False) as url, upstream_to(url) as upstream:
        with pytest.raises(InvalidRequest) as refused:
            await call(upstream, asking(saying("hello"), protocol="a2a", stream=True))

    assert refused.value.detail["a2a"] == "UNSUPPORTED_OPERATION"


async def test_a_message_that_says_nothing_is_not_sent(deeds: Deeds, agent: str) -> None:
    async with upstream_to(agent) as upstream:
        with pytest.raises(InvalidRequest):
            await call(upstream, asking(Content()))

    assert deeds.messages == []


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (Content(structured="words"), [{"text": "words", "mediaType": "text/plain"}]),
        (Content(structured={"message": "a"}), [{"text": "a", "mediaType": "text/plain"}]),
        (Content(structured={"message": "a", "b": 1}), [{"data": {"message": "a", "b": 1.0}}]),
        (Content(structured=[1]), [{"data": [1.0]}]),
    ],
)
async def test_whatever_is_said_becomes_parts(deeds: Deeds, agent: str, content: Content, parts: list[Json]) -> None:
    async with upstream_to(agent) as upstream:
        await call(upstream, asking(content))

    said = [{name: value for name, value in part.items()} for part in deeds.messages[0]["parts"]]
    for part in said:
        if "data" in part:
            part.pop("mediaType")
    assert said == parts


@pytest.mark.parametrize(
    ("card", "setting"),
    [
        ("ftp://agents.example", {}),
        ("http://agents.example", {"url": "no address"}),
        ("http://agents.example", {"headers": {"a": "env:NOTHING"}}),
    ],
)
async def test_an_entry_that_cannot_work_is_refused_at_once(card: str, setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        async with upstream_to(card, **setting):
            pass


async def test_an_agent_whose_card_turns_bad_keeps_its_last_good_one(deeds: Deeds) -> None:
    cards: list[bytes] = []

    async def fetch(where: str) -> bytes:
        return cards.pop(0)

    async with real_agent(deeds) as url, upstream_to(url, fetch=fetch) as upstream:
        cards += [await fetch_card(card_url(url)), b"{}"]
        listing = await upstream.capabilities()
        with pytest.raises(UpstreamFailed, match="refunds"):
            await upstream.capabilities()
        result = await upstream.call(asking(saying("hello")), listing.capabilities[0], ignore_event)

    assert isinstance(result, Complete)


async def test_what_is_wrong_with_a_card_is_told_without_the_addresses_it_names(deeds: Deeds) -> None:
    async def fetch(where: str) -> bytes:
        return (await fetch_card(where)).replace(b"http://127.0.0.1", b"http://metadata.internal.example")

    async with real_agent(deeds) as url, upstream_to(url, fetch=fetch) as upstream:
        with pytest.raises(UpstreamFailed) as refused:
            await upstream.capabilities()

    told = json.dumps(refused.value.describe())
    assert "supportedInterfaces[0].url" in told
    assert "internal.example" not in told
    assert "127.0.0.1" not in told
    assert "names http://metadata.internal.example" in refused.value.for_operators, "who runs it is told what is wrong"


async def test_an_agent_that_moves_is_called_where_it_now_is(deeds: Deeds) -> None:
    cards: list[bytes] = []

    async def fetch(where: str) -> bytes:
        return cards.pop(0)

    async with real_agent(Deeds()) as before, real_agent(deeds) as after, upstream_to(before, fetch=fetch) as upstream:
        cards += [await fetch_card(card_url(before)), await fetch_card(card_url(after))]
        await call(upstream, asking(saying("hello")))
        await call(upstream, asking(saying("hello again")))

    assert len(deeds.messages) == 1
