"""The sections `storage` and `audit` of the configuration. Knows no file, and resolves no secret."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_REFERENCE = re.compile(r"(env|file|keyring):.+")
_SCHEMES = ("postgresql", "postgres")
_HINT = "write a reference instead: env:NAME, file:PATH or keyring:SERVICE/NAME"


def is_reference(text: str) -> bool:
    """Whether this names where the URL is kept rather than being one."""
    return bool(_REFERENCE.fullmatch(text))


def checked_url(text: str) -> str:
    """`text` if it is the URL of a PostgreSQL database. Raises: ValueError: says why not, and repeats nothing of it."""
    try:
        parts = urlsplit(text)
        host, database = parts.hostname, parts.path.strip("/")
        _ = parts.port
    except ValueError:
        raise ValueError("this is no URL") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("this is no URL of a PostgreSQL database: write postgresql://USER@HOST:PORT/DATABASE")
    if not database or not (host or parts.query):
        raise ValueError("the URL has to name host and database: postgresql://USER@HOST:PORT/DATABASE")
    return text


def _url_or_reference(text: str) -> str:
    if not text or is_reference(text):
        return text
    checked_url(text)
    if urlsplit(text).password or "password" in urlsplit(text).query:
        raise ValueError(
            "a password must not stand in the configuration; write env:NAME, file:PATH or keyring:NAME/KEY"
        )
    return text


def _reference(text: str) -> str:
    if text and not is_reference(text):
        raise ValueError(f"a secret must not stand in the configuration; {_HINT}")
    return text


class StorageSettings(BaseModel):
    """Where everything but the audit log is kept: in files of the data directory, or in a PostgreSQL database."""

    # A URL put here by mistake must not come back, password and all, in the error that refuses it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url_or_reference)] = Field(
        default="",
        description="PostgreSQL database, or a reference to its URL; by default SQLite files in the data directory",
    )
    secret: Annotated[str, AfterValidator(_reference)] = Field(
        default="",
        description="Reference to the secret that all processes on one database share; what they sign and seal with is"
        " derived from it. By default the files in keys/",
    )
    connections: int = Field(
        default=10, ge=3, le=200, description="Connections a process opens to PostgreSQL for its own rows, at most"
    )


class AuditSettings(BaseModel):
    """What the audit log keeps, and how often it signs. Records themselves are never deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bodies: bool = Field(default=False, description="Keep what was said, masked, beside the digests of every record")
    body_bytes: int = Field(
        default=65_536, ge=256, le=16_777_216, description="Of one kept body, at most this many bytes"
    )
    body_days: int = Field(default=30, ge=0, description="Kept bodies are erased after so many days; 0 for never")
    mask: tuple[str, ...] = Field(
        default=(), description="Further names whose values are masked, for example iban; customer_iban counts too"
    )
    commit_ms: int = Field(
        default=40, ge=1, le=1000, description="Records nobody waits for are on disk after this, milliseconds"
    )
    queue_records: int = Field(
        default=20_000, ge=1, description="Records waiting for the disk; beyond that, calls are refused"
    )
    queue_bytes: int = Field(
        default=67_108_864, ge=1, description="Bytes of bodies waiting with them; beyond that, calls are refused"
    )
    checkpoint_records: int = Field(default=10_000, ge=1, description="Sign a checkpoint after so many records")
    checkpoint_s: float = Field(
        default=60.0, gt=0, description="Sign a checkpoint after so many seconds in which something was recorded"
    )
    export: str = Field(
        default="",
        description="Append every checkpoint to this file too; on another machine's disk it proves what was removed",
    )
