"""Authorization servers: what one says of itself (RFC 8414), and how forms are sent to it. Judges no token.

An address it names on another host is vetted like one a user supplied: only the issuer's own was agreed to.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import orjson

from adapters.net.address import address_from_url
from adapters.net.client_auth import Client
from adapters.net.egress import EgressGuard
from adapters.net.fetch import FORM, JSON, JSON_WANTED, Told, ask
from gateway.core.errors import Denied, GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from gateway.core.json import Json, JsonObject, json_text

METADATA_BYTES = 256 * 1024
_LATER = frozenset({408, 425, 429})
"""Statuses that say nothing of what was asked, but that it was asked too often, too early or too slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a form was answered with."""

    status: int
    said: JsonObject


class NotThere(UpstreamFailed):
    """Where something would be published, nothing is."""


class AuthorizationServer:
    """One issuer, asked on the control plane: bounded in time and size, never redirected."""

    def __init__(
        self,
        issuer: str,
        *,
        name: str,
        tls: ssl.SSLContext,
        guard: EgressGuard,
        timeout_s: float = 5.0,
        home: str | None = None,
    ) -> None:
        """`issuer`: its identifier; `name` stands in messages for it. `home`: an address of the configuration, whose
        host is not vetted; by default the issuer is from there.
        """
        self.issuer = issuer
        self.name = name
        self._tls = tls
        self._guard = guard
        self._timeout_s = timeout_s
        self._home = urlsplit(issuer if home is None else home).netloc.lower()

    async def metadata(self) -> JsonObject:
        """What it says of itself, under the first of its well-known addresses that answers.

        Raises: Unavailable: it does not answer; NotThere: it says nothing; UpstreamFailed: what it says is none, or
            another's.
        """
        problem: GatewayError = NotThere(f"{self.name} publishes no metadata")
        for url in metadata_urls(self.issuer):
            try:
                said = await self.document(url)
            except UpstreamFailed as error:
                problem = error if isinstance(problem, NotThere) else problem
                continue
            if said.get("issuer") != self.issuer:
                # RFC 8414, section 3.3: whoever answers for another issuer must not be believed.
                raise UpstreamFailed(f"{self.name} publishes the metadata of another issuer")
            return said
        raise problem

    async def document(self, url: str, *, limit_bytes: int = METADATA_BYTES) -> JsonObject:
        """A JSON object it publishes. Raises: Unavailable; NotThere: there is none; UpstreamFailed."""
        told = await self._ask(url, None, limit_bytes, ())
        if told.status != 200:
            raise NotThere(f"{self.name} answered with HTTP status {told.status}")
        try:
            return self._answered(told).said
        except UpstreamFailed as error:
            # Hosts of web applications answer with a page wherever nothing is.
            raise NotThere(error.message) from error

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> Answered:
        """What it answers to a form. Raises: Unavailable: no answer; UpstreamFailed: none that can be read."""
        return self._answered(await self._post(url, form, client))

    async def revoke(self, url: str, form: Mapping[str, str], client: Client) -> None:
        """Have a token revoked, to which the answer may be empty (RFC 7009). Raises: see `post`; UpstreamFailed."""
        told = await self._post(url, form, client)
        if told.status != 200:
            raise UpstreamFailed(f"{self.name} answered with HTTP status {told.status}")

    async def tell(self, url: str, said: JsonObject) -> Answered:
        """What it answers to a JSON object, with which no credential goes. Raises: see `post`."""
        return self._answered(await self._ask(url, orjson.dumps(said), METADATA_BYTES, (), JSON))

    async def _post(self, url: str, form: Mapping[str, str], client: Client) -> Told:
        fields, headers = client.shown_to(self.issuer)
        return await self._ask(url, urlencode({**form, **fields}).encode(), METADATA_BYTES, headers)

    def _answered(self, told: Told) -> Answered:
        return Answered(status=told.status, said=_object_in(told.body, self.name, told.status))

    async def _ask(
        self,
        url: str,
        form: bytes | None,
        limit_bytes: int,
        headers: "list[tuple[str, str]] | tuple[()]",
        media_type: str = FORM,
    ) -> Told:
        guard = None if urlsplit(url).netloc.lower() == self._home else self._guard
        try:
            told = await ask(
                url,
                guard=guard,
                tls=self._tls,
                form=form,
                media_type=media_type,
                timeout_s=self._timeout_s,
                limit_bytes=limit_bytes,
                headers=(*JSON_WANTED, *headers),
            )
        except UpstreamFailed as error:
            raise UpstreamFailed(f"{self.name}: {error.message}") from error
        except (InvalidRequest, Denied) as error:
            raise UpstreamFailed(f"{self.name} names an address that cannot be used: {error.message}") from error
        except GatewayError as error:
            raise Unavailable(f"{self.name} cannot be asked at the moment", retry_after_s=5.0) from error
        if told.status >= 500 or told.status in _LATER:
            raise Unavailable(f"{self.name} answered with HTTP status {told.status}", retry_after_s=5.0)
        return told


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order MCP 2026-07-28 gives ("authorization server discovery")."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    found = [f"{origin}/.well-known/{kind}{path}" for kind in ("oauth-authorization-server", "openid-configuration")]
    if path:
        found.append(f"{origin}{path}/.well-known/openid-configuration")
    return tuple(found)


def web_address(said: Mapping[str, Json], name: str) -> str:
    """An address in metadata. Raises: UpstreamFailed: there is none, or one to which nothing may be sent."""
    url = json_text(said.get(name))
    if not url.startswith(("https://", "http://")):
        raise UpstreamFailed(f"the issuer's metadata name no {name}")
    if url.startswith("http://") and not json_text(said.get("issuer")).startswith("http://"):
        # MCP 2026-07-28, "communication security": secrets, codes and keys travel by https only, whoever says other.
        raise UpstreamFailed(f"the issuer's metadata name a {name} without https")
    try:
        address_from_url(url)
    except InvalidRequest as error:
        raise UpstreamFailed(f"the issuer's metadata name a {name} that cannot be used: {error.message}") from error
    if "#" in url:
        raise UpstreamFailed(f"the issuer's metadata name a {name} with a fragment (RFC 6749, section 3.1)")
    return url


def _object_in(body: bytes, name: str, status: int) -> JsonObject:
    try:
        said: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict):
        return said
    if status != 200:
        return {}
    raise UpstreamFailed(f"{name} answered with something that is not a JSON object")
