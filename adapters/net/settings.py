"""The section `egress` of the configuration: where addresses supplied by users may lead."""

import ipaddress

from pydantic import BaseModel, ConfigDict, Field, field_validator

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class EgressSettings(BaseModel):
    """What the egress guard lets through. Addresses written in the configuration itself never meet the guard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = ()
    """Networks (`10.0.0.0/8`), addresses, or exact host names that are allowed although they are not public."""
    ports: tuple[int, ...] = Field(default=(80, 443, 8080, 8443))
    """Ports that may be reached; empty for every port."""

    @field_validator("allow")
    @classmethod
    def _each_is_a_network_or_a_host(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if network_of(entry) is None and not _is_host_name(entry):
                raise ValueError(f"{entry!r} is neither a network such as 10.0.0.0/8 nor a host name")
        return entries

    @field_validator("ports")
    @classmethod
    def _each_is_a_port(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        for port in ports:
            if not 0 < port < 65536:
                raise ValueError(f"{port} is not a port")
        return ports


def network_of(entry: str) -> IpNetwork | None:
    """The network an entry of `allow` stands for; None where it is a host name."""
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None


def _is_host_name(entry: str) -> bool:
    labels = entry.removesuffix(".").split(".")
    # A last label of digits would be an address in disguise (RFC 3696 section 2).
    return not labels[-1].isdigit() and all(
        label and label.isascii() and label.replace("-", "").isalnum() and not label.startswith("-") for label in labels
    )
