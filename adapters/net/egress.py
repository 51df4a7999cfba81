"""The egress guard: an address a user supplied is resolved once, every answer is vetted, and only those are dialled.

The vetted numbers go to the dialler while the name stays for `Host` and SNI, so a second, different DNS answer is never
asked for (rebinding), and no URL is rewritten. Knows no HTTP.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from adapters.net.settings import EgressSettings, network_of
from gateway.core.errors import Denied, Unavailable

Resolver: TypeAlias = Callable[[str, int], Awaitable[tuple[str, ...]]]
IpAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# `is_global` calls the translation prefixes global, although any IPv4 address can hide behind them.
_TRANSLATING = tuple(
    ipaddress.ip_network(network)
    for network in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
        "::ffff:0:0:0/96",
        "192.88.99.0/24",
    )
)
_MOST_ADDRESSES = 16
"""Of one name; the rest is neither vetted nor dialled."""


async def system_resolver(host: str, port: int) -> tuple[str, ...]:
    """Every address of a name, in the order the system prefers. Raises: OSError: it has none."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressGuard:
    """Vets addresses that a user supplied: card URLs, webhooks, metadata found behind them."""

    def __init__(self, settings: EgressSettings, resolve: Resolver = system_resolver) -> None:
        networks = [(entry, network_of(entry)) for entry in settings.allow]
        self._networks = tuple(network for _, network in networks if network is not None)
        self._hosts = frozenset(entry.lower().removesuffix(".") for entry, network in networks if network is None)
        self._ports = frozenset(settings.ports)
        self._resolve = resolve

    async def vet(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses that may be dialled for a name, each of them vetted.

        Raises: Denied: the port, or any one of the name's addresses, is not allowed; Unavailable: it has no address.
        """
        if self._ports and port not in self._ports:
            raise _denied("port", "this port may not be reached; `egress.ports` lists those that may")
        try:
            found = (await self._resolve(host, port))[:_MOST_ADDRESSES]
        except (OSError, UnicodeError) as error:
            raise Unavailable("the host's name cannot be resolved") from error
        if not found:
            raise Unavailable("the host's name cannot be resolved")
        if host.lower().removesuffix(".") in self._hosts:
            return found
        # One private answer among public ones is how a name is made to lead inside on the second try.
        if not all(self._permits(address) for address in found):
            raise _denied("address", "the host leads to an address that is not public; `egress.allow` can permit it")
        return found

    def _permits(self, text: str) -> bool:
        try:
            address: IpAddress = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return self._permits(str(address.ipv4_mapped))
        if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
            return False  # as private as their successors (RFC 3879), and called global
        if any(address in network for network in _TRANSLATING if network.version == address.version):
            return False

        return address.is_global and not address.is_multicast and not address.is_reserved


def _denied(rule: str, reason: str) -> Denied:
    return Denied(reason, detail={"policy": "egress", "rule": rule})
