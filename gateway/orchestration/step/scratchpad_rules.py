"""The scratchpad's rules: who may write a key, who is handed it, and what may stand there. Pure."""

from collections.abc import Mapping

from gateway.core.contracts import violation
from gateway.core.errors import Denied, InvalidRequest
from gateway.core.json import Json
from gateway.orchestration.settings.workflow import KeySettings


def refuse_reader(keys: Mapping[str, KeySettings], key: str, slug: str) -> None:
    """Raises: Denied: this agent is not handed this key."""
    rule = keys.get(key)
    if rule is not None and rule.readers and slug not in rule.readers:
        raise Denied(f"{slug} is not handed {key} of the scratchpad", detail={"rule": f"scratchpad.{key}.readers"})


def refuse_writer(keys: Mapping[str, KeySettings], key: str, slug: str, value: Json) -> None:
    """Raises: Denied: this agent may not write this key; InvalidRequest: the value breaks the key's contract."""
    rule = keys.get(key)
    if rule is None:
        return
    if rule.writers and slug not in rule.writers:
        raise Denied(f"{slug} may not write {key} of the scratchpad", detail={"rule": f"scratchpad.{key}.writers"})
    if rule.contract and (broken := violation(rule.contract, value)):
        raise InvalidRequest(f"{key} of the scratchpad: {broken}", detail={"rule": f"scratchpad.{key}.schema"})
