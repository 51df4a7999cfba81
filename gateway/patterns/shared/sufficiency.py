"""Limits under which not even a run in which nothing goes wrong could end well. Pure."""

from collections.abc import Iterable

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import seconds


def refuse_small_limits(limits: JsonObject, *, calls: int, roles: Iterable[Role], fixed_s: Json = None) -> None:
    """`calls`: steps a run takes at least; `roles`: those asked one after another, after `fixed_s` seconds.

    Raises: InvalidRequest: they cannot suffice.
    """
    allowed, deadline_s = limits.get("calls"), seconds(limits.get("deadline_s"))
    if isinstance(allowed, int) and allowed < calls:
        raise InvalidRequest(f"limits.calls is {allowed}, and a run takes {calls}", detail={"setting": "limits"})
    needed_s = (seconds(fixed_s) or 0.0) + sum(role.timeout_s or 0.0 for role in roles)
    if deadline_s is not None and needed_s > deadline_s:
        message = f"limits.deadline_s is {deadline_s:g}, and the steps may take {needed_s:g} one after another"
        raise InvalidRequest(message, detail={"setting": "limits"})
