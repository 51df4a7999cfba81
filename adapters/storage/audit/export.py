"""Records for other programs: as they are, and as OCSF events. Pure.

JSON Lines: `{"seq", "hash", "record"}`; `record` is the stored line itself, so SHA-256(hash before + record) can be
computed from an export as well. OCSF: class API Activity (6003), the nearest the schema has to a tool call; what it
has no place for stays under `unmapped`.
"""

import msgspec

from adapters.storage.audit.reader import Entry
from gateway.core.json import Json, JsonObject, json_list, json_text

_CLASS = 6003
_ACTIVITIES = {"get": 2, "read": 2, "complete": 2, "task.get": 2, "task.list": 2, "task.subscribe": 2, "subscribe": 2}
_OTHER_ACTIVITY = 99
_STATUS = {"ok": (1, "Success"), "accepted": (1, "Success"), "input_required": (1, "Success")}
_FAILURE = (2, "Failure")
_MAPPED = frozenset(
    {
        *("id", "at_us", "operation", "tenant", "subject", "kind", "roles", "capability", "protocol", "code", "reason"),
        *("outcome", "request_id", "duration_us", "policy", "rule"),
    }
)
_encode = msgspec.json.Encoder().encode


def jsonl_of(entry: Entry) -> bytes:
    """One line, its line feed included."""
    return b'{"seq":%d,"hash":"%b","record":%b}\n' % (entry.seq, entry.hash.hex().encode(), entry.line)


def ocsf_jsonl_of(entry: Entry) -> bytes:
    """One OCSF event, its line feed included."""
    return _encode(ocsf_of(entry.fields)) + b"\n"


def ocsf_of(fields: JsonObject) -> JsonObject:
    """A record's fields as an OCSF API Activity event."""
    activity = _ACTIVITIES.get(json_text(fields.get("operation")), _OTHER_ACTIVITY)
    outcome = json_text(fields.get("outcome"))
    status_id, status = _STATUS.get(outcome, _FAILURE) if outcome else (0, "Unknown")
    at_us, duration_us = fields.get("at_us"), fields.get("duration_us")
    denied = outcome == "denied"
    event: JsonObject = {
        "category_uid": 6,
        "class_uid": _CLASS,
        "activity_id": activity,
        "type_uid": _CLASS * 100 + activity,
        "severity_id": 3 if denied else 1,
        "status_id": status_id,
        "status": status,
        "time": at_us // 1000 if isinstance(at_us, int) else 0,
        "duration": duration_us // 1000 if isinstance(duration_us, int) else 0,
        "metadata": {
            "version": "1.4.0",
            "uid": fields.get("id"),
            "tenant_uid": fields.get("tenant"),
            "product": {"name": "Drawbridge", "vendor_name": "Drawbridge"},
        },
        "actor": {"user": _user(fields)},
        "src_endpoint": {"name": fields.get("subject") or "unknown"},
        "api": {
            "operation": fields.get("operation"),
            "service": {"name": fields.get("capability")},
            "request": {"uid": fields.get("request_id") or fields.get("id")},
            "response": {"code": fields.get("code", 0), "message": fields.get("reason", "")},
        },
        "unmapped": {name: value for name, value in fields.items() if name not in _MAPPED},
    }
    if denied:
        event["action"] = "Denied"
        event["action_id"] = 2
    if fields.get("policy"):
        event["policy"] = {"name": fields.get("policy"), "uid": fields.get("rule", "")}
    return event


def _user(fields: JsonObject) -> JsonObject:
    groups: list[Json] = [{"name": role} for role in json_list(fields.get("roles"))]
    return {"name": fields.get("subject") or "unknown", "type": fields.get("kind") or "unknown", "groups": groups}
