from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from adapters.storage.audit.bodies import Digests, Kept
from adapters.storage.audit.line import LINE_BYTES, Line, Lines
from adapters.storage.audit.masking import MASK, Masker
from adapters.storage.settings import AuditSettings
from gateway.core.content import NOTHING, Content, plain
from gateway.core.errors import InvalidRequest
from gateway.core.labels import Labels
from gateway.core.limits import Usage
from gateway.core.record import Record
from tests.fakes_audit import REFUNDS, START_US, a_record

KEY = bytes(32)


def lines(**settings: Any) -> Lines:
    return Lines(settings=AuditSettings(**settings), digest_key=KEY, masker=Masker())


def said(record: Record) -> Any:
    return msgspec.json.decode(lines().row_of(record, [])[4])


def test_everything_a_record_says_is_in_its_line() -> None:
    record = a_record(
        principal=REFUNDS,
        code=1502,
        reason="password=hunter2",
        run_id="run_1",
        step_id="run_1/2",
        parent_id="rec_p",
        traceparent="00-a-b-01",
        idempotency_key="k",
        labels=Labels(untrusted=frozenset({"server:b", "server:a"})),
        usage=Usage(calls=1, tokens=7, cost_usd=Decimal("0.010")),
        result=plain("done"),
        detail={"replayed": True, "token": "t"},
    )
    digests = Digests(KEY)
    assert said(record) == {
        "id": "rec_" + "0" * 26,
        "phase": "outcome",
        "at_us": START_US,
        "operation": "call",
        "tenant": "default",
        "subject": "agent:refunds",
        "kind": "agent",
        "actors": ["ana", "workflow:help", "agent:refunds"],
        "capability": "tool:orders/refund",
        "protocol": "mcp",
        "outcome": "ok",
        "code": 1502,
        "policy": "access",
        "rule": "support.allow[0]",
        "snapshot": "v1",
        "duration_us": 1200,
        "request_id": "0",
        "run_id": "run_1",
        "step_id": "run_1/2",
        "parent_id": "rec_p",
        "traceparent": "00-a-b-01",
        "idempotency_key": "k",
        "reason": f"password={MASK}",
        "labels": {"untrusted": ["server:a", "server:b"]},
        "usage": {"calls": 1, "tokens": 7, "cost_usd": "0.010"},
        "request_bytes": len(b'{"structured":{"order":"A-1"}}'),
        "request_digest": digests.of("default", b'{"structured":{"order":"A-1"}}'),
        "result_bytes": len(b'{"parts":[{"text":"done","media_type":"text/plain"}]}'),
        "result_digest": digests.of("default", b'{"parts":[{"text":"done","media_type":"text/plain"}]}'),
        "detail": {"replayed": True, "token": MASK},
    }


def test_no_field_of_a_record_is_forgotten() -> None:
    stored_otherwise = {"principal", "request", "result"}
    assert set(Record.__dataclass_fields__) - stored_otherwise <= set(Line.__struct_fields__)


def test_what_has_nothing_to_say_is_left_out_and_the_order_is_fixed() -> None:
    record = Record(id="r", phase="event", at_us=1, principal=None, operation="keys.mint", request=NOTHING)
    assert lines().row_of(record, []) == (
        1,
        "",
        "r",
        None,
        b'{"id":"r","phase":"event","at_us":1,"operation":"keys.mint"}',
    )


def test_the_same_record_always_gives_the_same_bytes() -> None:
    writer = lines()
    assert writer.row_of(a_record(1), []) == writer.row_of(a_record(1), []) == lines().row_of(a_record(1), [])


def test_bodies_are_kept_only_where_configured() -> None:
    kept: list[Kept] = []
    lines().row_of(a_record(result=plain("x")), kept)
    assert kept == []
    row = lines(bodies=True).row_of(a_record(result=plain("x")), kept)
    line = msgspec.json.decode(row[4])
    assert [each.digest for each in kept] == [line["request_digest"], line["result_digest"]]


def test_a_line_never_grows_beyond_its_bound_and_keeps_what_identifies_it() -> None:
    record = a_record(
        capability="tool:" + "x" * 100_000, reason="\ud800" * 9, detail={"a": ["y" * 50_000]}, run_id="run_1"
    )
    at_us, tenant, record_id, run_id, line = lines().row_of(record, [])
    assert (at_us, tenant, record_id, run_id) == (START_US, "default", a_record().id, "run_1")
    assert len(line) <= LINE_BYTES
    fields = msgspec.json.decode(line)
    assert fields["capability"] == "tool:" + "x" * 507
    assert fields["detail"] == {"cut": True}
    assert fields["subject"] == "ana"
    assert fields["roles"] == ["clerk", "support"]


class Odd:
    """A body like one a broken adapter could hand over."""

    def __init__(self, structured: Any, error: Exception | None = None) -> None:
        self.size_bytes = 5
        self._structured = structured
        self._error = error

    def content(self) -> Content:
        if self._error:
            raise self._error
        return Content(structured=self._structured)


class Growing(dict[str, Any]):
    """A detail that somebody still writes to while it is read."""

    def items(self) -> Any:
        for name in super().items():
            yield name
            raise RuntimeError("dictionary changed size during iteration")


@given(
    st.sampled_from(["reason", "capability", "request_id", "run_id", "traceparent", "tenant"]),
    st.text(st.characters(codec=None), max_size=40),
)
def test_no_text_keeps_a_record_from_being_written(name: str, text: str) -> None:
    row = lines(bodies=True).row_of(a_record(0, **{name: text}), [])
    assert msgspec.json.decode(row[4])["id"] == a_record().id


def test_nothing_else_keeps_a_record_from_being_written() -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    for body in (
        Odd({"a": "\ud800"}),
        Odd({"a": object()}),
        Odd(None, InvalidRequest("x")),
        Odd(deep),
        Odd(10**400),
        Odd(None, KeyError()),
    ):
        for bodies in (True, False):
            row = lines(bodies=bodies).row_of(a_record(request=body, result=None), [])
            assert msgspec.json.decode(row[4])["request_bytes"] == 5
    assert said(a_record(detail=Growing(a=1)))["detail"] == {"cut": True}
    labels = Labels(untrusted=frozenset({"server:\ud800"}))
    odd = a_record(detail={"x": {1, 2}, "y": deep}, code=2**70, usage=Usage(tokens=2**70), labels=labels)  # type: ignore[dict-item]
    fields = said(odd)
    assert fields["id"] == odd.id
    assert fields["labels"] == {"untrusted": ["server:?"]}
