"""The A2A door: agents and workflows under `/agents/{name}`, as JSON-RPC and server-sent events, and their cards.

Plain ASGI, because a router and middlewares cost more than all the rest of it. Here is who knocks and whether what is
asked makes sense; `Service` has it done.
"""

import structlog

from adapters.a2a import asgi
from adapters.a2a.asgi import Receive, Scope, Send
from adapters.a2a.cards import Cards
from adapters.a2a.inbound import Asked, Inbound, asked_for
from adapters.a2a.ownership import Ownership
from adapters.a2a.publish import Face
from adapters.a2a.refusals import Refusals
from adapters.a2a.service import Service, Visit
from adapters.a2a.wire.envelope import NO_ID, Call, Refused, call_from_bytes
from adapters.a2a.wire.errors import a2a_error
from gateway.core.errors import GatewayError, Internal, Unauthenticated
from gateway.core.limits import Limits
from gateway.core.model import Capability
from gateway.core.ports.gateway import Authenticator, Gateway, Identity
from gateway.core.ports.storage import TaskOwners
from gateway.core.ports.world import Clock, Ids

log = structlog.get_logger(__name__)

PREFIX = "/agents/"
_JSON_TYPES = ("application/json", "application/a2a+json")


class A2aDoor:
    """An ASGI application for everything under `/agents/`."""

    def __init__(
        self,
        gateway: Gateway,
        authenticator: Authenticator,
        task_owners: TaskOwners,
        *,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        face: Face,
    ) -> None:
        self._face = face
        self._gateway = gateway
        self._authenticator = authenticator
        self._limits = limits
        self._cards = Cards(gateway, face)
        self._refusals = Refusals(gateway, clock=clock, ids=ids)
        self._service = Service(
            gateway,
            ownership=Ownership(task_owners, clock),
            inbound=Inbound(clock=clock, ids=ids, limits=limits),
            refusals=self._refusals,
            clock=clock,
            ids=ids,
            streams=limits.streams,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            slug, rest = asgi.slug_in(scope["path"], PREFIX)
            if rest == asgi.CARD_PATH:
                await self._show_card(scope, send, slug)
            else:
                await self._take(scope, receive, send, slug)
        except Unauthenticated as error:
            challenge = self._face.challenges.unauthenticated(scope["path"], error)
            await self._refusals.refuse(send, error, operation="knock", status=401, challenge=challenge)
        except GatewayError as error:
            # Nothing has been sent: whoever sends keeps its errors to itself.
            await self._refusals.refuse(send, error, operation="knock", status=error.wire.http)
        except Exception:
            log.exception("door failed")
            await self._refusals.refuse(send, Internal("the gateway failed"), operation="knock", status=500)

    async def _show_card(self, scope: Scope, send: Send, slug: str) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await asgi.answer(send, 405, b"", ((b"allow", b"GET, HEAD"),))
            return
        identity = None
        if not self._face.public_cards:
            identity = await self._authenticator.authenticate(asgi.header(scope, b"authorization"), scope["path"])
        shown = self._cards.find(slug, None if identity is None else identity.principal)
        sharing = b"public" if self._face.public_cards else b"private"
        headers = ((b"etag", shown.etag), (b"cache-control", sharing + b", max-age=60"), (b"vary", b"authorization"))
        known = {each.strip().removeprefix("W/") for each in asgi.header_list(scope, b"if-none-match").split(",")}
        if shown.etag.decode() in known:
            await asgi.answer(send, 304, b"", headers)
        else:
            await asgi.answer(send, 200, shown.body, headers)

    async def _take(self, scope: Scope, receive: Receive, send: Send, slug: str) -> None:
        if scope["method"] != "POST":
            await asgi.answer(send, 405, b"", ((b"allow", b"POST"),))
            return
        # Before anything is read, so that nobody unknown makes the gateway hold a body.
        identity = await self._authenticator.authenticate(asgi.header(scope, b"authorization"), scope["path"])
        call_id, status = NO_ID, 200
        try:
            body = await self._body(scope, receive)
            call = call_from_bytes(body, depth=self._limits.json_depth)
            call_id = call.id
            asked = self._asked(scope, call, len(body))
        except asgi.Gone:
            return
        except asgi.Unread as unread:
            error, status = unread.error, unread.status
        except Refused as refused:
            error, call_id = refused.error, refused.call_id
        except GatewayError as problem:
            error = problem
        else:
            target, capability = self._target(identity, slug)
            visit = Visit(
                identity=identity, slug=slug, target=target, capability=capability, receive=receive, send=send
            )
            await self._service.serve(visit, asked)
            return
        await self._refusals.refuse(
            send, error, operation="read", call_id=call_id, status=status, identity=identity, capability=f"agent:{slug}"
        )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        media_type = asgi.header(scope, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        if media_type not in _JSON_TYPES:
            raise asgi.Unread(415, a2a_error("CONTENT_TYPE_NOT_SUPPORTED", "the body has to be application/json"))
        return await asgi.body_of(scope, receive, self._limits.body_bytes)

    def _asked(self, scope: Scope, call: Call, size_bytes: int) -> Asked:
        version = asgi.header(scope, b"a2a-version").decode("latin-1").strip()
        return asked_for(
            call,
            version=version or asgi.version_in(scope["query_string"]),
            extensions=asgi.header_list(scope, b"a2a-extensions"),
            traceparent=asgi.trace_in(asgi.header(scope, b"traceparent")),
            size_bytes=size_bytes,
        )

    def _target(self, identity: Identity, slug: str) -> tuple[str, Capability | None]:
        """Name and capability; of what does not exist, a name under which the gateway refuses it."""
        for kind in ("agent", "workflow"):
            found = self._gateway.find(identity.principal, f"{kind}:{slug}")
            if found is not None:
                return found.name, found
        return f"agent:{slug}", None
