"""Regular expressions that take time in proportion to the text, whatever both are. Pure.

Python's engine backtracks, and takes time without end for `(a+)+$` on the wrong text. This is Rust's, as pydantic
carries it: it knows no look-around and no back references.
"""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator
from pydantic_core.core_schema import str_schema

from gateway.core.errors import InvalidRequest

KEPT_AT_MOST = 256


def found(pattern: str, text: str) -> bool:
    """Whether the expression matches somewhere in the text. Raises: InvalidRequest: it is none of this kind."""
    return _compiled(pattern).isinstance_python(text)


def refuse_expression(pattern: str) -> None:
    """Raises: InvalidRequest: it is no regular expression, or one of a kind that may take forever."""
    _compiled(pattern)


@lru_cache(maxsize=KEPT_AT_MOST)
def _compiled(pattern: str) -> SchemaValidator:
    try:
        return SchemaValidator(str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        why = str(error).strip().rpartition("error: ")[2].partition("\n")[0]
        raise InvalidRequest(f"{pattern!r} cannot be used as a regular expression: {why}") from error
