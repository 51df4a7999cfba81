"""Where the gateway listens, and what it answers to."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ListenSettings(BaseModel):
    """Section `gateway`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on. Anything but a loopback address is refused while demo keys are in use."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8640
    """Port to listen on; 0 takes a free one."""
    public_url: str = ""
    """What clients and agents are told to call, for example `https://gateway.example.com`; by default the address."""
    allowed_hosts: tuple[str, ...] = ()
    """Further `Host` values to answer to, with or without port. The address itself and `public_url` always count."""
    allowed_origins: tuple[str, ...] = ()
    """`Origin` values of browser pages that may call, for example `http://localhost:6274`."""
    names: Literal["prefix", "conflict", "refuse"] = "prefix"
    """How tools and prompts of servers are called at `/mcp`: `SERVER__NAME` always; only where two servers have the
    same name; or by their own names, and those two servers have are not offered."""
    chaos: bool = False
    """Whether operators may inject faults into calls of their own tenant (`drawbridge chaos`). Not for production."""

    @field_validator("public_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")
