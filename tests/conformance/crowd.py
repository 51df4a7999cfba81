"""The gateway as the client the suite sees: one gateway before the servers of all scenarios, visited through its door.

A scenario's server is there only while its visitor is awaited, so everybody waits until all of them have come; then the
gateway is told of all servers at once.
"""

import math
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from tests.conformance.acts import act
from tests.conformance.conftest import KEY_OF
from tests.conformance.signing_in import DOCUMENT
from tests.conformance.visits import Visit, plain_http
from tests.e2e.gateways import Gateway, key_of, operator

_PARAMETER = re.compile(r'([a-z_]+)=("[^"]*")')
_SECRET = "conformance-test-secret"
MOVING = "auth/authorization-server-migration"
"""The scenario whose server takes tokens of another issuer after its first answer."""
NEVER_CONTENT, LOOKED_AT_S = (MOVING, "auth/scope-retry-limit"), 20.0
"""Scenarios whose servers let nobody in for good, and how long they are looked at."""
NOTHING_OFFERED = ("initialize", "request-metadata")
"""Scenarios whose servers have nothing to be asked for: at a gateway there is nothing behind their endpoints."""


class Crowd:
    """Visits every scenario of one run through a gateway."""

    def __init__(self, gateway: Gateway, name: str, expected: int) -> None:
        """`expected`: how many scenarios there will be; `name` tells this crowd's servers from another's."""
        self._gateway = gateway
        self._name = name
        self._expected = expected
        self._visits: list[Visit] = []
        self._open = anyio.Event()
        self._states: dict[str, tuple[str, str]] = {}
        """By server, its state and why it is that."""
        self._looking = anyio.Lock()

    async def visit(self, visit: Visit) -> None:
        """See `Visitor`."""
        self._visits.append(visit)
        slug = f"{self._name}{len(self._visits)}"
        if len(self._visits) == self._expected:
            try:
                await self._tell_the_gateway()
            finally:
                self._open.set()
        await self._open.wait()
        if visit.scenario.startswith("auth/") and "client-credentials" not in visit.scenario:
            await self._connect(slug)
        with anyio.move_on_after(LOOKED_AT_S if visit.scenario in NEVER_CONTENT else math.inf):
            await self._listed(slug)
        if visit.scenario in (*NOTHING_OFFERED, *NEVER_CONTENT):
            return
        headers = {"authorization": f"Bearer {key_of(KEY_OF)}"}
        await act(replace(visit, url=f"{self._gateway.url}/mcp/{slug}", headers=headers))

    async def _tell_the_gateway(self) -> None:
        servers = {f"{self._name}{number}": await self._server(each) for number, each in enumerate(self._visits, 1)}
        self._gateway.write({**self._gateway.configuration, "servers": servers})
        if self._gateway.process is None:
            await to_thread.run_sync(self._gateway.start)

    async def _server(self, visit: Visit) -> dict[str, Any]:
        if not visit.scenario.startswith("auth/"):
            return {"url": visit.url}
        return {"url": visit.url, "auth": await self._auth(visit)}

    async def _auth(self, visit: Visit) -> dict[str, Any]:
        scenario = visit.scenario.removeprefix("auth/")
        secret = self._gateway.folder / f"{visit.scenario.replace('/', ' ')}.secret"
        secret.write_text(visit.context.get("client_secret", _SECRET))
        known = {"client_id": visit.context.get("client_id", "registered"), "client_secret": f"file:{secret}"}
        found = await _written_down(visit)
        if scenario == "client-credentials-basic":
            return {**found, **known, "kind": "client_credentials"}
        if scenario == "client-credentials-jwt":
            secret.write_text(visit.context["private_key_pem"])
            proof = {"client_id": visit.context["client_id"], "client_key": f"file:{secret}"}
            return {**found, **proof, "kind": "client_credentials"}
        auth = {**found, "kind": "user", "client_id": DOCUMENT, "list_as": KEY_OF}
        if scenario in ("pre-registration", "token-endpoint-auth-basic"):
            return {**auth, **known}
        return {**auth, **known, "client_auth": "post"} if scenario == "token-endpoint-auth-post" else auth

    async def _connect(self, slug: str) -> None:
        """As its user does it, at the gateway's page."""
        asked = {"server": slug, "subject": KEY_OF}
        while slug not in self._states:
            await self._look()
        async with operator(self._gateway) as root, plain_http() as browser:
            said = await root.api("/accounts", method="POST", body=asked)
            page = await browser.get(said.json()["url"])
            answer = await browser.post(page.url)
            while answer.has_redirect_location:
                answer = await browser.get(answer.url.join(answer.headers["location"]))
            assert answer.status_code == 200, answer.text

    async def _listed(self, slug: str) -> None:
        """Wait until the gateway has read what the server offers."""
        while (state := self._states.get(slug, ("", "")))[0] != "up":
            assert "refused" not in state[1], state[1]
            await self._look()

    async def _look(self) -> None:
        """See how the gateway's servers are: once for everybody."""
        before = self._states
        async with self._looking:
            if before is self._states:
                await anyio.sleep(0.2)
                async with operator(self._gateway) as root:
                    said = (await root.api("/status")).json()["upstreams"]
                self._states = {each["slug"]: (each["state"], each["reason"]) for each in said}


async def _written_down(visit: Visit) -> dict[str, Any]:
    """The issuer and the scopes, as somebody finds them out who writes a configuration."""
    async with plain_http() as http:
        challenge = (await http.post(visit.url, json={})).headers.get("www-authenticate", "")
        said = {name: value.strip('"') for name, value in _PARAMETER.findall(challenge)}
        at = urlsplit(visit.url)
        origin = f"{at.scheme}://{at.netloc}"
        named = [said.get("resource_metadata", "")]
        wells = [
            f"{origin}/.well-known/oauth-protected-resource{at.path}",
            f"{origin}/.well-known/oauth-protected-resource",
        ]
        for url in filter(None, named if named[0] else wells):
            found = await http.get(url)
            if found.status_code == 200:
                about = found.json()
                scopes = said.get("scope", "").split() or about.get("scopes_supported", [])
                mine = {"resource": about["resource"]} if about["resource"].startswith(origin) else {}
                return {"issuer": about["authorization_servers"][0], "scopes": scopes, **mine}
    return {"issuer": origin}
