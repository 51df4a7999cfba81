"""What the gateway is called in tokens and metadata: one resource for each of its addresses (RFC 8707, RFC 9728). Pure.

A token for an address is good for what lies below it: one for the gateway's own URL everywhere, one for `/mcp` at each
server, one for `/mcp/orders` there only.
"""

import re
from collections.abc import Callable, Sequence

from adapters.identity.oauth_settings import OAuthSettings
from gateway.core.errors import Unauthenticated
from gateway.core.json import JsonObject, json_text

WELL_KNOWN = "/.well-known/oauth-protected-resource"
_MOST_PATHS = 1024
_PATH = re.compile(r"/[A-Za-z0-9/_.~-]{0,255}")
"""What may be repeated in a header."""


class Resource:
    """The gateway's addresses; `base` is what clients call it by, for example `https://gateway.example.com`."""

    def __init__(self, base: str = "") -> None:
        self.base = base.rstrip("/")
        self._above: dict[str, frozenset[str]] = {}

    def named_by(self, audiences: frozenset[str], path: str) -> bool:
        """Whether a token with these audiences is for this path. Never, before the gateway knows its own address."""
        above = self._above.get(path)
        if above is None:
            if len(self._above) >= _MOST_PATHS:
                self._above.clear()
            above = self._above[path] = self._names(path)
        return not above.isdisjoint(audiences)

    def at(self, path: str) -> str:
        """The identifier of the resource at a path."""
        return self.base + path.rstrip("/")

    def _names(self, path: str) -> frozenset[str]:
        if not self.base or not _PATH.fullmatch(path) or "/." in path or "//" in path:
            return frozenset()
        parts = path.strip("/").split("/") if path != "/" else []
        return frozenset(self.at("/" + "/".join(parts[:count])) for count in range(len(parts) + 1))


class ProtectedResource:
    """Implements `Challenges`, and gives the metadata of each resource."""

    def __init__(self, resource: Resource, settings: Callable[[], OAuthSettings]) -> None:
        """`settings`: as they are at the moment."""
        self._resource = resource
        self._settings = settings

    @property
    def issuers(self) -> list[str]:
        """Identifiers of those whose tokens are taken."""
        return [each.url for each in self._settings().issuers.values()]

    def metadata(self, path: str) -> "JsonObject | None":
        """RFC 9728 metadata of the resource at a path; None where there is no issuer to name.

        Paths that lead nowhere have some too: which do, is for nobody to learn without a token.
        """
        issuers = self.issuers
        if not issuers or not self._resource.named_by(frozenset({self._resource.base}), path):
            return None
        scopes = sorted({scope for needed in self._settings().scopes.values() for scope in needed})
        said: JsonObject = {
            "resource": self._resource.at(path),
            "authorization_servers": [*issuers],
            "bearer_methods_supported": ["header"],
            "resource_name": "Drawbridge",
        }
        return {**said, "scopes_supported": [*scopes]} if scopes else said

    def unauthenticated(self, path: str, error: Unauthenticated) -> bytes:
        reason = json_text(error.detail.get("token"))
        said = [("error", "invalid_token"), ("error_description", reason)] if reason else []
        return self._challenge(path, [*said, ("scope", " ".join(self._scopes_of_all(path)))])

    def insufficient(self, path: str, scopes: Sequence[str]) -> bytes:
        needed = " ".join(scopes)
        said = [("error", "insufficient_scope"), ("scope", needed), ("error_description", f"it needs {needed}")]
        return self._challenge(path, said)

    def _challenge(self, path: str, said: Sequence[tuple[str, str]]) -> bytes:
        if self.metadata(path) is not None:
            said = [*said, ("resource_metadata", f"{self._resource.base}{WELL_KNOWN}{path.rstrip('/')}")]
        written = ", ".join(f'{name}="{value}"' for name, value in said if value)
        return f"Bearer {written}".rstrip().encode("latin-1", "replace")

    def _scopes_of_all(self, path: str) -> list[str]:
        """Scopes without which nothing works at this path."""
        settings = self._settings()
        owner = path.removeprefix("/mcp/") if path.startswith("/mcp/") else ""
        patterns = {"*", *((f"tool:{owner}/*", f"tool:{owner}/**") if owner else ())}
        if not settings.issuers:
            return []
        return sorted({each for pattern, needed in settings.scopes.items() if pattern in patterns for each in needed})
