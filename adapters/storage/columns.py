"""What columns hold, in terms every SQL database understands: money is text, JSON is text. Knows no table."""

import json
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, Text, TypeDecorator

from gateway.core.json import Json


class JsonText(TypeDecorator[Any]):
    """JSON as text; `null` is SQL's NULL. The standard library's encoder, because it keeps integers of any size."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: object) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: object) -> Json:
        return None if value is None else json.loads(value)


class DecimalText(TypeDecorator[Decimal]):
    """Money, exactly as it was given."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: object) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: object) -> Decimal | None:
        return None if value is None else Decimal(value)


class SaidText(TypeDecorator[str]):
    """What somebody outside said. PostgreSQL takes any character but NUL, which is shown by its picture there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value.replace("\0", "\u2400") if value and dialect.name == "postgresql" else value


TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""In the order of its code points, as SQLite has it, whatever the database's language."""
