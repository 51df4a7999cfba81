"""The authorization code grant with PKCE, begun and finished in one browser (RFC 6749, RFC 7636, RFC 9207).

What is begun travels under seal in `state`, so that any gateway on the same database can go on: it counts in the
browser it was begun in (a stolen `state` is of no use), from the issuer that was asked, once, and for ten minutes.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlencode, urlsplit

from authlib.oauth2 import rfc7636

from adapters.net.authorization_server import web_address
from adapters.oauth.sealing import Broken, Sealing
from adapters.oauth.token_endpoint import Granted, TokenEndpoint
from gateway.core.errors import Conflict, Denied, InvalidRequest, UpstreamFailed
from gateway.core.json import JsonObject, json_list, json_text
from gateway.core.ports.claims import Claims
from gateway.core.ports.world import Clock

VALID_S = 600
"""How long a link, and what was begun by it, can be used, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One kind of errand for which a browser is sent to an issuer."""

    kind: str
    """What is begun for one kind is never finished as another."""
    redirect_uri: str
    endpoint: TokenEndpoint
    must_say_who: bool = False
    """See `Terms.must_say_who`."""


class CodeFlow:
    """Begins and finishes errands of any kind."""

    def __init__(self, sealing: Sealing, claims: Claims, clock: Clock) -> None:
        self._sealing = sealing
        self._claims = claims
        self._clock = clock

    async def begin(self, flow: Flow, browser: str, said: JsonObject, query: Mapping[str, str]) -> str:
        """Where to send the browser with this cookie; `said` comes back with it, `query` is for the issuer.

        Raises: UpstreamFailed, Unavailable: the issuer cannot be asked, or does not know PKCE, or is to say who it is
            with its answer and does not.
        """
        server = flow.endpoint.server
        about = await server.metadata()
        if "S256" not in json_list(about.get("code_challenge_methods_supported")):
            raise UpstreamFailed(f"{server.name} does not support PKCE (S256)")
        if flow.must_say_who and not _says_who(about):
            raise UpstreamFailed(
                f"{server.name} was named by a server, and does not say with its answer who it is (RFC 9207): where its"
                " client_id stands in the configuration, the issuer has to stand beside it"
            )
        verifier = secrets.token_urlsafe(48)
        client = flow.endpoint.client.id
        state = {**said, "issuer": server.issuer, "client": client, "verifier": verifier, "browser": digest_of(browser)}
        asked = {
            **query,
            "response_type": "code",
            "client_id": client,
            "redirect_uri": flow.redirect_uri,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            "state": self.sealed(state, flow.kind),
        }
        at = web_address(about, "authorization_endpoint")
        return f"{at}{'&' if urlsplit(at).query else '?'}{urlencode(asked)}"

    def came_back(self, kind: str, query: Mapping[str, str], browser: str) -> JsonObject:
        """What was said when it was begun. Raises: InvalidRequest, Denied: it was not, or not in this browser."""
        said = self.opened(query.get("state", ""), kind)
        if not browser or not hmac.compare_digest(digest_of(browser), json_text(said.get("browser"))):
            raise Denied("this was begun in another browser: open the link yourself, in the one you use")
        return said

    async def granted(self, flow: Flow, said: JsonObject, query: Mapping[str, str], form: Mapping[str, str]) -> Granted:
        """What the issuer gives for the code it sent the browser back with.

        Raises: Denied: the answer is another issuer's, or a refusal; Conflict: it was used before; UpstreamFailed,
            Unavailable: the issuer gives nothing.
        """
        server = flow.endpoint.server
        if json_text(said.get("issuer")) != server.issuer:
            raise Denied("another issuer counts there by now: open the link again")
        if json_text(said.get("client")) != flow.endpoint.client.id:
            raise Denied("the issuer knows the gateway by another name by now: open the link again")
        await _check_issuer(flow, query)
        await self._use(flow.kind, said)
        if "code" not in query:
            raise Denied(f"the issuer did not agree: {_word(query.get('error', 'no code'))}")
        return await flow.endpoint.grant(
            {
                **form,
                "grant_type": "authorization_code",
                "code": query["code"],
                "redirect_uri": flow.redirect_uri,
                "code_verifier": json_text(said.get("verifier")),
            }
        )

    def sealed(self, said: JsonObject, kind: str) -> str:
        """To go into an address; good for ten minutes."""
        until_us = self._clock.now_us() + VALID_S * 1_000_000
        return self._sealing.close_text({**said, "until_us": until_us, "nonce": secrets.token_hex(16)}, kind)

    def opened(self, text: str, kind: str) -> JsonObject:
        """What was sealed. Raises: InvalidRequest: nothing of ours, or of another kind, or too old."""
        try:
            said = self._sealing.open_text(text, kind)
        except Broken:
            raise InvalidRequest("this link is not one of this gateway's: ask for a new one") from None
        until_us = said.get("until_us")
        if not isinstance(until_us, int) or until_us < self._clock.now_us():
            raise InvalidRequest("this link is too old: ask for a new one")
        return said

    async def have(self, kind: str, said: JsonObject, holder: str) -> bool:
        """Whether `holder` is the first to have what was sealed so, at whichever gateway; for as long as it counts."""
        # By what is under the seal: the same can be written in more than one way.
        name, now_us = f"{kind} {json_text(said.get('nonce'))}", self._clock.now_us()
        until_us = now_us + VALID_S * 1_000_000 + 1
        return await self._claims.take(json_text(said.get("tenant")), name, holder, now_us=now_us, until_us=until_us)

    async def use_up(self, kind: str, said: JsonObject, holder: str) -> None:
        """What `holder` has is over."""
        name = f"{kind} {json_text(said.get('nonce'))}"
        await self._claims.pass_on(json_text(said.get("tenant")), name, holder, "nobody any more")

    async def _use(self, kind: str, said: JsonObject) -> None:
        if not await self.have(kind, said, secrets.token_hex(16)):
            raise Conflict("this was finished before: open the link again")


async def _check_issuer(flow: Flow, query: Mapping[str, str]) -> None:
    """RFC 9207, section 2.4: an answer of another issuer is not to be acted upon, nor its error shown."""
    server, named = flow.endpoint.server, query.get("iss")
    if named is None:
        if flow.must_say_who or _says_who(await server.metadata()):
            raise Denied("the answer does not say which issuer it is from, and that issuer always does")
    elif named != server.issuer:
        raise Denied("the answer is from another issuer than the one that was asked")


def _says_who(about: JsonObject) -> bool:
    return about.get("authorization_response_iss_parameter_supported") is True


def digest_of(browser: str) -> str:
    """What is kept of a browser's cookie."""
    return sha256(browser.encode()).hexdigest()


def _challenge(verifier: str) -> str:
    return str(rfc7636.create_s256_code_challenge(verifier))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - untyped


def _word(error: str) -> str:
    return error if error.replace("_", "").isalnum() and error.isascii() and len(error) < 60 else "it does not say why"
