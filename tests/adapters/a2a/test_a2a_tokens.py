"""Access tokens for agents: shown in each caller's name, and only where the configuration says."""

from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from adapters.a2a.settings import AgentSettings
from gateway.core.content import Plain
from gateway.core.errors import Denied, InvalidRequest
from gateway.core.limits import Budget
from gateway.core.model import Complete, Request, ignore_event
from tests.fakes_a2a import ANA, Deeds, real_agent, saying, upstream_to
from tests.fakes_oauth import CallersTokens

pytestmark = pytest.mark.anyio

AUTH = {"kind": "token_exchange", "issuer": "https://login.test", "client_id": "a", "client_secret": "env:A"}


def asking(credential: str) -> Request:
    return Request(
        id="req_1",
        principal=ANA,
        capability="agent:refunds",
        operation="call",
        budget=Budget(deadline_s=anyio.current_time() + 60),
        body=Plain(saying("hello")),
        protocol="run",
        credential=credential,
        meta={"message_id": f"run_1/{credential}", "context_id": f"run_1/{credential}"},
    )


async def test_each_caller_is_shown_to_the_agent_with_a_token_of_its_own() -> None:
    deeds = Deeds()
    async with real_agent(deeds) as url, upstream_to(url, url=url, auth=AUTH, tokens=CallersTokens()) as upstream:
        (capability,) = (await upstream.capabilities()).capabilities
        with anyio.fail_after(120):
            for credential in ("ana", "bob"):
                assert isinstance(await upstream.call(asking(credential), capability, ignore_event), Complete)
            with pytest.raises(Denied):
                await upstream.call(asking(""), capability, ignore_event)

    assert [headers["authorization"] for headers in deeds.headers] == ["Bearer first-ana", "Bearer first-bob"]


async def test_what_an_agent_says_to_one_person_is_not_remembered_for_another() -> None:
    async with (
        real_agent(Deeds()) as url,
        upstream_to(url, url=url, auth=AUTH, tokens=CallersTokens(), deterministic=True) as upstream,
    ):
        (capability,) = (await upstream.capabilities()).capabilities

    assert capability.remembering is not None and capability.remembering.personal


async def test_no_token_is_shown_in_clear_to_another_machine() -> None:
    with pytest.raises(InvalidRequest, match="https"):
        async with upstream_to("https://a.test", url="http://a.test/rpc", auth=AUTH, tokens=CallersTokens()):
            pass


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "needs the url"),
        ({"url": "https://a.test", "headers": {"Authorization": "env:A"}}, "either auth"),
        ({"url": "https://a.test", "auth": {**AUTH, "kind": "user"}}, "no accounts of people"),
        ({"url": "https://a.test", "auth": {**AUTH, "client_secret": "hunter2-hunter2"}}, "env:NAME"),
    ],
)
def test_an_agent_that_would_be_shown_tokens_another_way_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        AgentSettings.model_validate({"card": "https://a.test", "auth": AUTH, **said})

    assert "hunter2" not in str(refused.value)
