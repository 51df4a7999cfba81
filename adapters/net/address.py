"""Web addresses taken apart: where to connect, and what to ask for there. Pure; knows nothing of who may go where."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.core.errors import InvalidRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = frozenset(map(chr, range(33))) | {"\x7f", "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An http or https URL."""

    secure: bool
    host: str
    """Lower case, without brackets; ASCII."""
    port: int
    target: str
    """Path and query, as they go into the request line; starts with a slash."""

    @property
    def authority(self) -> str:
        """What goes into the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS["https" if self.secure else "http"] else f"{host}:{self.port}"


def address_from_url(url: str) -> Address:
    """The parts of an absolute http(s) URL; a fragment is dropped.

    Raises: InvalidRequest: another scheme, credentials in it, or a spelling that different readers read differently.
    """
    if not url.isascii() or any(character in _FORBIDDEN for character in url):
        raise InvalidRequest("the URL must be plain ASCII without spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest("the URL cannot be read") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidRequest("the URL must start with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidRequest("the URL must not carry a user name or password")
    host = (parts.hostname or "").lower()
    if not host or "%" in host or port == 0:
        raise InvalidRequest("the URL names no host that can be connected to")
    return Address(
        secure=parts.scheme == "https",
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )
