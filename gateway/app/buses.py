"""Which bus an address names. Found by its scheme among the entry points, so that a broker's library is loaded only
where one is configured."""

from importlib.metadata import entry_points

from gateway.core.errors import InvalidRequest
from gateway.core.ports.bus import Bus, BusLimits, BusType

GROUP = "gateway.buses"
SCHEMES = {"rediss": "redis", "tls": "nats"}
"""Schemes that are another's with TLS."""


def bus_from(url: str, limits: BusLimits) -> Bus:
    """The bus at an address, not open. Raises: InvalidRequest: no such bus, or its library is not installed."""
    scheme = url.partition(":")[0].lower()
    name = SCHEMES.get(scheme, scheme)
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        known = ", ".join(sorted(each.name for each in entry_points(group=GROUP)))
        raise InvalidRequest(f"there is no bus for addresses that begin with {name}:, there is {known}")
    try:
        made: BusType = found.load()
    except ImportError as error:
        raise InvalidRequest(f"the library for {name} is not installed: install agent-drawbridge[{name}]") from error
    return made(url, limits)
