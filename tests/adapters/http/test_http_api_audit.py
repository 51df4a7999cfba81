"""Erasing what is kept of what was said, over REST, from a real log."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

from adapters.storage.audit.reader import AuditReader
from adapters.storage.audit.verify import verify
from gateway.app.operations import AuditBodiesOfGateway
from gateway.core.content import plain
from gateway.core.json import Json, JsonObject
from gateway.core.model import principal
from tests.fakes_api import ApiBench
from tests.fakes_audit import Desk, a_record

pytestmark = pytest.mark.anyio

BOB = principal("bob", tenant="acme")
CAI = principal("cai")


class Office:
    """The API over a log of what ana and cai said here, and bob elsewhere."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk(root, bodies=True)
        self.bench = ApiBench()
        self.bench.parts = replace(self.bench.parts, bodies=AuditBodiesOfGateway(self.desk.path))

    async def fill(self) -> None:
        await self.desk.written(
            a_record(0, request=plain("ana's first words")),
            a_record(1, request=plain("ana's other words"), run_id="run_1"),
            a_record(2, principal=CAI, request=plain("cai's words")),
            a_record(3, principal=BOB, tenant="acme", request=plain("bob's words")),
        )

    @asynccontextmanager
    async def asked(self, key: str = "olga-key") -> AsyncGenerator[httpx2.AsyncClient]:
        async with self.bench.serving() as url, httpx2.AsyncClient(base_url=f"{url}/api/v1") as client:
            client.headers["authorization"] = f"Bearer {key}"
            with anyio.fail_after(60):
                yield client

    def kept(self) -> list[bool]:
        """Of each record, whether its body is still there."""
        reader = AuditReader(self.desk.path)
        return [reader.show(a_record(number).id, tenant=None)[0].request is not None for number in range(4)]


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    await office.fill()
    return office


async def test_bodies_are_counted_then_erased_within_the_tenant_and_it_is_recorded_who_did(office: Office) -> None:
    async with office.asked() as client:
        counted = await client.post("/audit/erase", json={"text": "rec_", "count_only": True})
        assert (counted.json(), office.kept()) == ({"kept": 3}, [True] * 4)
        assert office.bench.gateway.records == []
        erased = await client.post("/audit/erase", json={"subject": "ana"})
        again = await client.post("/audit/erase", json={"subject": "ana"})
    assert (erased.json(), again.json()) == ({"erased": 2}, {"erased": 0})
    assert office.kept() == [False, False, True, True]
    assert verify(office.desk.path, digest_key=office.desk.keys.digest).ok
    intent, outcome = office.bench.gateway.records[:2]
    assert (intent.phase, intent.operation, intent.detail) == ("intent", "audit.erase", {"subject": "ana", "kept": 2})
    assert (outcome.outcome, outcome.principal and outcome.principal.subject) == ("ok", "olga")


async def test_the_words_that_were_looked_for_do_not_stay_in_the_record_of_their_erasure(office: Office) -> None:
    async with office.asked() as client:
        erased = await client.post("/audit/erase", json={"text": "rec_", "subject": "cai"})
    assert erased.json() == {"erased": 1}
    intent = office.bench.gateway.records[0]
    assert intent.detail == {"text": "not kept", "subject": "cai", "kept": 1}


@pytest.mark.parametrize(
    "body", [{}, {"subject": ""}, {"count_only": True}, {"limit": 1}, {"since": "yesterday"}, {"subject": None}]
)
async def test_erasing_without_saying_of_whom_or_what_erases_nothing(office: Office, body: JsonObject) -> None:
    async with office.asked() as client:
        answer = await client.post("/audit/erase", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 1400)
    assert office.kept() == [True] * 4
    assert office.bench.gateway.records == []


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"run": "run_1"}, [True, False, True, True]),
        ({"call": "tool:orders/*"}, [False, False, False, True]),
        ({"call": "tool:other/*"}, [True, True, True, True]),
        ({"subject": "bob"}, [True, True, True, True]),
        ({"until": "2000-01-01T00:00:00Z"}, [True, True, True, True]),
    ],
)
async def test_only_what_fits_goes(office: Office, body: JsonObject, left: list[Json]) -> None:
    async with office.asked() as client:
        assert (await client.post("/audit/erase", json=body)).status_code == 200
    assert office.kept() == left


async def test_only_operators_erase(office: Office) -> None:
    async with office.asked("bea-key") as client:
        answer = await client.post("/audit/erase", json={"subject": "ana"})
    assert answer.status_code == 403
    assert office.kept() == [True] * 4
