"""The gateway as the client the suite sees: one gateway before the servers of all scenarios, visited through its door.

A scenario's server is there only while its visitor is awaited, so everybody waits until all of them have come; then the
gateway is told of all servers at once.
"""

import math
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

MOVING = "auth/authorization-server-migration"
"""The scenario whose server takes tokens of another issuer after its first answer."""
ANOTHERS, WANTS_MORE = "auth/resource-mismatch", "auth/scope-step-up"
"""The one whose server says that it is another, and the one whose server wants more of a token for a call."""
NEVER_CONTENT, LOOKED_AT_S = (MOVING, "auth/scope-retry-limit", ANOTHERS), 20.0
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
            await self._connect(slug, works=visit.scenario != ANOTHERS)
        with anyio.move_on_after(LOOKED_AT_S if visit.scenario in NEVER_CONTENT else math.inf):
            await self._listed(slug)
        if visit.scenario in (*NOTHING_OFFERED, *NEVER_CONTENT):
            return
        headers = {"authorization": f"Bearer {key_of(KEY_OF)}"}
        opens = _open if visit.scenario == WANTS_MORE else None
        await act(replace(visit, url=f"{self._gateway.url}/mcp/{slug}", headers=headers, opens=opens))

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
        """What somebody writes down who was registered by hand, and by whom; the rest is the gateway's to find out."""
        kind = "client_credentials" if "client-credentials" in visit.scenario else "user"
        auth = {"kind": kind, **({"client_id": DOCUMENT, "list_as": KEY_OF} if kind == "user" else {})}
        for name, setting in (("client_secret", "client_secret"), ("private_key_pem", "client_key")):
            if name in visit.context:
                secret = self._gateway.folder / f"{visit.scenario.replace('/', ' ')}.secret"
                secret.write_text(visit.context[name])
                auth |= {"client_id": visit.context["client_id"], setting: f"file:{secret}"}
        by_hand = "client_secret" in auth or "client_key" in auth
        return auth | ({"issuer": await _issuer_of(visit)} if by_hand else {})

    async def _connect(self, slug: str, *, works: bool = True) -> None:
        """As its user does it, at the gateway's page."""
        asked = {"server": slug, "subject": KEY_OF}
        while slug not in self._states:
            await self._look()
        async with operator(self._gateway) as root:
            said = await root.api("/accounts", method="POST", body=asked)
        await _open(said.json()["url"], works=works)

    async def _listed(self, slug: str) -> None:
        """Wait until the gateway has read what the server offers, and connect anew where the server wants that."""
        begun = self._states.get(slug)
        while (state := self._states.get(slug, ("", "")))[0] != "up":
            if begun != state and "account of your own" in state[1]:
                begun = state
                await self._connect(slug)
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


async def _open(url: str, *, works: bool = True) -> None:
    """A link, and go on wherever it leads."""
    async with plain_http() as browser:
        page = await browser.get(url)
        answer = await browser.post(page.url)
        while answer.has_redirect_location:
            answer = await browser.get(answer.url.join(answer.headers["location"]))
        assert (answer.status_code == 200) is works, answer.text


async def _issuer_of(visit: Visit) -> str:
    """Where the scenario has registered its client."""
    at = urlsplit(visit.url)
    async with plain_http() as http:
        found = await http.get(f"{at.scheme}://{at.netloc}/.well-known/oauth-protected-resource{at.path}")
        issuer: str = found.json()["authorization_servers"][0]
        return issuer
