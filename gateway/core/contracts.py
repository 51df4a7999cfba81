"""Whether a value meets a JSON Schema, and what to tell whoever has to mend it. Fetches nothing."""

import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError, relevance
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.core.json import Json

_CONTRACT_CHARS = 400
_ERRORS_AT_MOST = 20
# An empty registry resolves nothing outside the schema itself: a `$ref` must not make the gateway fetch an address.
_NOTHING_ELSE: Registry[Any] = Registry()


def violation(schema: Mapping[str, Json], value: Json) -> str:
    """Where and how `value` breaks the contract, with the contract; empty where it holds."""
    try:
        validator = Draft202012Validator(schema, registry=_NOTHING_ELSE)
        errors: list[ValidationError] = list(islice(validator.iter_errors(value), _ERRORS_AT_MOST))  # pyright: ignore[reportUnknownMemberType]
    except (SchemaError, UnknownType, Unresolvable, re.error) as error:
        return f"the contract itself cannot be used: {type(error).__name__}"
    if not errors:
        return ""
    worst = max(errors, key=relevance)
    contract = json.dumps(schema, ensure_ascii=False)
    shown = contract if len(contract) <= _CONTRACT_CHARS else contract[:_CONTRACT_CHARS] + "…"
    return f"{worst.json_path}: {worst.message[:200]}; the contract is {shown}"
