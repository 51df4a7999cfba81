"""What columns hold, in terms every SQL database understands: money is text, JSON is text. Knows no table.

For a table `key` is part of its key; a `time` is in UTC microseconds; what is `said` comes from outside.
"""

import json
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, ForeignKey, LargeBinary, Text, TypeDecorator

from gateway.core.json import Json

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class JsonText(TypeDecorator[Any]):
    """JSON as text; `null` is SQL's NULL. The standard library's encoder, because it keeps integers of any size."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: object) -> str | None:
        return None if value is None else _ENCODER.encode(value)

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

TOKEN_KINDS = ("input_tokens", "output_tokens", "counted_tokens")


def text_of(name: str) -> Column[str]:
    return Column(name, TEXT, nullable=False)


def said(name: str) -> Column[str]:
    return Column(name, SaidText, nullable=False)


def key(name: str) -> Column[str]:
    return Column(name, TEXT, primary_key=True)


def number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def time(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def time_or_never(name: str) -> Column[int | None]:
    return Column(name, BigInteger, nullable=True)


def json_of(name: str) -> Column[Any]:
    return Column(name, JsonText, nullable=True)


def bytes_of(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def spent() -> tuple[Column[Any], ...]:
    return (
        number("calls"),
        number("tokens"),
        Column("cost_usd", DecimalText, nullable=False),
        # As they were added to what earlier versions kept.
        *(Column(name, BigInteger, nullable=False, server_default="0") for name in TOKEN_KINDS),
        json_of("models"),
    )


def run() -> Column[str]:
    return Column("run_id", TEXT, ForeignKey("runs.id"), primary_key=True)
