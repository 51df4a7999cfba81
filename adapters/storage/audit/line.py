"""One record as the bytes that are stored, hashed and never encoded again. Pure.

Canonical form: UTF-8 JSON without white space, one object, its members in the order of `Line`, each left out where it
has its default. Whoever checks a log hashes the stored bytes as they are, so the form has to be stable only here; that
is why it need not be RFC 8785, which costs ten times as much.
"""

from typing import TypeAlias

import msgspec

from adapters.storage.audit.bodies import Digests, Kept, bytes_of, kept_of
from adapters.storage.audit.masking import Masker
from adapters.storage.settings import AuditSettings
from gateway.core.content import NOTHING, Body
from gateway.core.errors import GatewayError
from gateway.core.json import Json, JsonObject, json_list, json_text
from gateway.core.model import Principal
from gateway.core.record import Record

LINE_BYTES = 16_384
"""A longer record is cut: its names come from callers, and a log must not be a way to fill the disk."""
_LONGEST = 512
_PRINCIPALS = 1024
_NOBODY: list[str] = []
# Bodies and details come from adapters and agents: whatever is wrong with one must not stop the log for everybody.
_UNUSABLE = (GatewayError, ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError)


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """What is stored of a `Record`; the members are documented there. A call's intent and outcome share `id`."""

    id: str
    phase: str
    at_us: int
    operation: str
    tenant: str = ""
    subject: str = ""
    kind: str = ""
    roles: list[str] = []
    actors: list[str] = []
    """Subjects from whoever started it to `subject`; left out where nobody stands behind."""
    capability: str = ""
    protocol: str = ""
    outcome: str = ""
    code: int = 0
    policy: str = ""
    rule: str = ""
    snapshot: str = ""
    duration_us: int = 0
    request_id: str = ""
    run_id: str = ""
    step_id: str = ""
    parent_id: str = ""
    traceparent: str = ""
    idempotency_key: str = ""
    reason: str = ""
    labels: dict[str, Json] | None = None
    usage: dict[str, Json] | None = None
    request_bytes: int = 0
    request_digest: str = ""
    result_bytes: int = 0
    result_digest: str = ""
    detail: dict[str, Json] | None = None


Row: TypeAlias = "tuple[int, str, str, str | None, bytes]"
"""(at_us, tenant, id, run id, canonical line): what the table needs to know of a record."""


class Lines:
    """Turns records into lines; remembers principals, because a gateway has few and sees each often."""

    def __init__(self, *, settings: AuditSettings, digest_key: bytes, masker: Masker) -> None:
        self._digests = Digests(digest_key)
        self._masker = masker
        self._keep_bytes = settings.body_bytes if settings.bodies else 0
        self._encoder = msgspec.json.Encoder()
        self._principals: dict[int, tuple[Principal, tuple[str, str, list[str], list[str]]]] = {}

    def row_of(self, record: Record, kept: list[Kept]) -> Row:
        """The record's line and what it is found by; bodies to be stored are added to `kept`. Never raises."""
        line = self._begun(record)
        try:
            self._complete(line, record, kept)
            encoded = self._encoder.encode(line)
        except _UNUSABLE:
            encoded = b""
        if not encoded or len(encoded) > LINE_BYTES:
            line = _made_safe(line)
            encoded = self._encoder.encode(line)
        return line.at_us, line.tenant, line.id, line.run_id or None, encoded

    def _begun(self, record: Record) -> Line:
        who = record.principal
        if who is None:
            return _flat(record, record.tenant, "", "", _NOBODY, _NOBODY)
        return _flat(record, record.tenant or who.tenant, *self._known(who))

    def _complete(self, line: Line, record: Record, kept: list[Kept]) -> None:
        tenant = line.tenant
        request, result, usage = record.request, record.result, record.usage
        if request is not None and request is not NOTHING:
            line.request_bytes, line.request_digest = self._seen(request, tenant, kept)
        if result is not None and result is not NOTHING:
            line.result_bytes, line.result_digest = self._seen(result, tenant, kept)
        if record.reason:
            line.reason = self._masker.text(record.reason)
        if record.labels:
            line.labels = record.labels.to_json()
        if usage.calls or usage.tokens or usage.cost_usd:
            line.usage = usage.to_json()
        if record.detail:
            line.detail = self._masker.object(record.detail)

    def _known(self, who: Principal) -> tuple[str, str, list[str], list[str]]:
        # By identity: hashing a principal costs more than the whole line. The entry keeps it alive, so no other
        # object can take its id meanwhile.
        known = self._principals.get(id(who))
        if known is None:
            actors = list(who.chain) if who.behind is not None else _NOBODY
            known = (who, (who.subject, who.kind, sorted(who.roles), actors))
            if len(self._principals) >= _PRINCIPALS:
                self._principals.clear()
            self._principals[id(who)] = known
        return known[1]

    def _seen(self, body: Body, tenant: str, kept: list[Kept]) -> tuple[int, str]:
        try:
            data = bytes_of(body)
        except _UNUSABLE:
            return body.size_bytes, ""
        digest = self._digests.of(tenant, data)
        if self._keep_bytes:
            found = self._kept(body, digest)
            if found is not None:
                kept.append(found)
        return body.size_bytes or len(data), digest

    def _kept(self, body: Body, digest: str) -> Kept | None:
        try:
            return kept_of(body, digest, self._masker, self._keep_bytes)
        except _UNUSABLE:
            return None


def _flat(record: Record, tenant: str, subject: str, kind: str, roles: list[str], actors: list[str]) -> Line:
    # By position, in the order of `Line`: by name it costs a microsecond more, and every call pays it.
    return Line(
        record.id,
        record.phase,
        record.at_us,
        record.operation,
        tenant,
        subject,
        kind,
        roles,
        actors,
        record.capability,
        record.protocol,
        record.outcome,
        record.code,
        record.policy,
        record.rule,
        record.snapshot,
        record.duration_us,
        record.request_id,
        record.run_id,
        record.step_id,
        record.parent_id,
        record.traceparent,
        record.idempotency_key,
    )


def _made_safe(line: Line) -> Line:
    """The line with every text cut and valid, and the detail replaced by a note that it was too much."""
    safe = Line("", "", 0, "")
    for name in Line.__struct_fields__:
        value = getattr(line, name)
        if isinstance(value, str):
            setattr(safe, name, _text(value))
        elif isinstance(value, int):
            setattr(safe, name, max(-(2**63), min(value, 2**63 - 1)))
    safe.roles = [_text(each) for each in line.roles[:16]]
    safe.actors = [_text(each) for each in line.actors[:16]]
    safe.labels = _safe_labels(line.labels) if line.labels else None
    safe.usage = {name: str(value) for name, value in line.usage.items()} if line.usage else None
    safe.detail = {"cut": True}
    return safe


def _safe_labels(labels: JsonObject) -> JsonObject:
    return {name: [_text(json_text(each)) for each in json_list(values)[:16]] for name, values in labels.items()}


def _text(value: str) -> str:
    return value[:_LONGEST].encode("utf-8", "replace").decode()
