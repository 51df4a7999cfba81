"""The section `audit` of the configuration. Knows no file."""

from pydantic import BaseModel, ConfigDict, Field


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
