"""How results become one, read from the settings of a concurrent workflow. Pure."""

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject, json_object, json_text
from gateway.patterns.concurrent.merging import MERGE_RULES, MergeRule, Merging
from gateway.patterns.shared.roles import Role
from gateway.patterns.shared.settings import seconds, texts

_RULES: dict[str, MergeRule] = {each: each for each in MERGE_RULES}


def merging_in(block: JsonObject, reconciler: Role | None, workers: set[str]) -> Merging:
    """Raises: InvalidRequest: two ways at once, or owners who are given no work."""
    said = json_text(block.get("merge"))
    rule = (reconciler.rule if reconciler else "") or said or "all"
    if said and reconciler is not None and reconciler.rule not in ("", said):
        raise InvalidRequest(f"merge says {said}, and the reconciler {reconciler.rule}: give one of them")
    owners = {field: json_text(name) for field, name in json_object(block.get("owners")).items()}
    if (rule == "owner") != bool(owners):
        raise InvalidRequest(
            "owners go with merge: owner, and merge: owner needs them", detail={"setting": "concurrent"}
        )
    strangers = sorted({*owners.values()} - workers)
    if strangers:
        raise InvalidRequest(f"fields belong to {', '.join(strangers)}, who is given no work")
    limits = {field: seconds(value) or 0.0 for field, value in json_object(block.get("tolerances")).items()}
    return Merging(
        rule=_rule(rule),
        owners=owners,
        keys={path: json_text(key) for path, key in json_object(block.get("keys")).items()},
        tolerance=seconds(block.get("tolerance")) or 0.0,
        tolerances=limits,
        free=frozenset(texts(block.get("free"))),
    )


def _rule(name: str) -> MergeRule:
    found = _RULES.get(name)
    if found is None:
        raise InvalidRequest(f"there is no way to merge called {name}; there is {', '.join(MERGE_RULES)}")
    return found
