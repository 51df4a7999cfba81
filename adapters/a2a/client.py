"""An A2A agent as an upstream: JSON-RPC on pooled connections, as the agent's card describes it.

Whoever speaks A2A has its messages relayed as they are; for everybody else a message is made, and the agent is followed
to the end of its task. Knows nothing of who may call, and nothing of ownership.
"""

from collections.abc import Mapping

import anyio
import structlog

from adapters.a2a.card import DELEGATION, CheckedCard, FetchCard, card_url, check_card
from adapters.a2a.compose import (
    INPUT_SCHEMA,
    extra_headers,
    task_params,
)
from adapters.a2a.delivery import Delivery
from adapters.a2a.exchange import Exchange, task_answer
from adapters.a2a.listing import own_tasks
from adapters.a2a.rpc import AgentRpc, OpenPool
from adapters.a2a.settings import AgentSettings
from adapters.a2a.wire.bodies import Answer, Params
from adapters.a2a.wire.errors import a2a_error
from adapters.a2a.wire.values import valid_id
from adapters.net.address import address_from_url
from adapters.net.authorized import check_secure
from gateway.core.errors import (
    DeadlineExceeded,
    Denied,
    GatewayError,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
)
from gateway.core.json import Json, json_list, json_object, json_text
from gateway.core.limits import Bounds, Limits
from gateway.core.model import Capability, Complete, Emit, Remembering, Request, Result
from gateway.core.ports.credentials import UpstreamTokens
from gateway.core.ports.upstream import Listing
from gateway.core.ports.world import Ids, Secrets

log = structlog.get_logger(__name__)

CARD_TIMEOUT_S = 10.0
MOST_FORMER = 3
"""Addresses an agent has moved away from whose calls may still end."""
_REFERENCES = ("env:", "file:", "keyring:")


class A2aUpstream:
    """See `Upstream`. Owns its pools."""

    def __init__(
        self,
        *,
        slug: str,
        settings: AgentSettings,
        fetch: FetchCard,
        open_pool: OpenPool,
        secrets: Secrets,
        ids: Ids,
        limits: Limits,
        tokens: UpstreamTokens | None = None,
    ) -> None:
        """`tokens`: those the agent asks for.

        Raises: InvalidRequest: a header's secret cannot be resolved, or an address is none, or not one for tokens.
        """
        for address in filter(None, (settings.card, settings.url)):
            address_from_url(address)
        if tokens is not None:
            check_secure(address_from_url(settings.url), slug)
        self._tokens = tokens
        self._slug = slug
        self._settings = settings
        self._fetch = fetch
        self._open_pool = open_pool
        self._limits = limits
        self._headers = _resolved(settings.headers, secrets)
        self._card: CheckedCard | None = None
        self._rpc: AgentRpc | None = None
        self._former: list[AgentRpc] = []
        self._fetching = anyio.Lock()
        self._leaving = False
        self._delivery = Delivery(slug=slug, settings=settings, ids=ids)

    @property
    def name(self) -> str:
        return self._slug

    async def capabilities(self) -> Listing:
        card = await self._refresh()
        skills: list[Json] = [
            {"id": each.id, "name": each.name, "description": each.description, "tags": [*each.tags]}
            for each in card.skills
        ]
        tags = {*self._settings.tags, *(f"skill:{tag}" for skill in card.skills for tag in skill.tags)}
        capability = Capability(
            name=f"agent:{self._slug}",
            kind="agent",
            owner=self._slug,
            local=self._slug,
            tenant=self._settings.tenant,
            title=card.name,
            description=card.description,
            definition=card.card,
            input_schema=INPUT_SCHEMA,
            tags=frozenset(tags),
            effect="sink",
            idempotency="meta" if self._settings.idempotent else "",
            timeout_s=self._settings.timeout_s,
            bounds=Bounds(owner_concurrency=self._settings.concurrency, owner_queue=self._settings.queue),
            remembering=self._remembering(card),
            digest=card.digest,
        )
        about: dict[str, Json] = {"card": card.card, "digest": card.digest, "skills": skills}
        return Listing(capabilities=(capability,), about=about)

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        deadline_s = request.budget.deadline_s
        with anyio.CancelScope(deadline=deadline_s) as scope:
            rpc, card = await self._line()
            if self._tokens is not None:
                rpc = rpc.showing(self._tokens.of(self._tokens.key(request)))
            exchange = Exchange(
                rpc,
                slug=self._slug,
                streaming=card.streaming,
                emit=emit,
                deadline_s=deadline_s,
                extra=extra_headers(request, delegation=bool(self._delivery.delegation(request, card))),
                relayed=request.protocol == "a2a",
            )
            try:
                if request.operation == "call":
                    return await self._attended(exchange, request, card)
                return await self._about_tasks(exchange, request, card)
            except GatewayError as error:
                if "a2a" in error.detail or isinstance(error, UpstreamFailed):
                    # What the agent says of it is passed on.
                    error.sources |= self._delivery.sources
                raise
        if scope.cancelled_caught:
            raise DeadlineExceeded(f"{self._slug} did not finish in time")
        raise AssertionError("unreachable: the scope either returns, raises or was cancelled")

    def leave(self) -> None:
        """From now on a canceled call leaves its task running: going down is not canceling. For before a shutdown."""
        self._leaving = True

    async def aclose(self) -> None:
        self.leave()
        for rpc in (*self._former, *(() if self._rpc is None else (self._rpc,))):
            await rpc.aclose()
        self._former.clear()

    async def _attended(self, exchange: Exchange, request: Request, card: CheckedCard) -> Result:
        """Send, and see to it that a task nobody waits for any longer is canceled, if that is the caller's way."""
        relayed = request.protocol == "a2a"
        try:
            if relayed:
                return await self._delivery.relay(exchange, request, card)
            return await self._delivery.drive(exchange, request, card)
        except (DeadlineExceeded, anyio.get_cancelled_exc_class()):
            # A2A 1.0: a client that disconnects has not canceled anything; CancelTask is how it would.
            if not relayed and not self._leaving:
                await exchange.cancel()
            raise
        except UpstreamFailed as error:
            # It may go on saying more than anybody hears. Whoever speaks A2A has the task, and may look at it.
            if "limit" in error.detail and not relayed and not self._leaving:
                await exchange.cancel()
            raise
        except Denied:
            # A policy stopped the stream: what the agent goes on to do is no longer wanted by anybody.
            await exchange.cancel()
            raise

    def _remembering(self, card: CheckedCard) -> Remembering | None:
        settings = self._settings
        if not settings.deterministic and not settings.stale_on_error:
            return None
        return Remembering(
            ttl_s=settings.cache_ttl_s,
            fresh=settings.deterministic,
            stale=settings.stale_on_error,
            # With a token it looks things up for whoever is behind the step, and may find something else for another.
            personal=bool(settings.delegation)
            or DELEGATION in card.extensions
            or (settings.auth is not None and settings.auth.personal),
        )

    async def _about_tasks(self, exchange: Exchange, request: Request, card: CheckedCard) -> Result:
        if request.operation == "task.list":
            filters = request.body.content().structured if isinstance(request.body, Params) else {}
            kept = {name: value for name, value in json_object(filters).items() if name != "tenant"}
            owned = frozenset(json_text(each) for each in json_list(request.meta.get("owned")))
            raw = await own_tasks(lambda page: exchange.ask("ListTasks", page), kept, owned)
            return Complete(body=Answer(raw, "tasks"), labels=self._delivery.labels(request))
        task_id = valid_id(request.meta.get("task"))
        params = task_params(request, card, task_id)
        if request.operation == "task.subscribe":
            if not card.streaming:
                raise a2a_error("UNSUPPORTED_OPERATION", "this agent does not stream; use GetTask")
            await exchange.stream("SubscribeToTask", params)
            return self._delivery.result(exchange, request)
        methods = {"task.get": "GetTask", "task.cancel": "CancelTask"}
        if request.operation not in methods:
            raise a2a_error("UNSUPPORTED_OPERATION", f"an agent has no operation {request.operation}")
        answer = task_answer(await exchange.ask(methods[request.operation], params), task_id, self._slug)
        return Complete(body=answer, labels=self._delivery.labels(request))

    async def _line(self) -> tuple[AgentRpc, CheckedCard]:
        card = self._card
        if card is None:
            async with self._fetching:
                card = self._card or await self._refresh()
        rpc = self._rpc
        if rpc is None or rpc.url != card.url:
            rpc = await self._dialled(card)
        return rpc, card

    async def _dialled(self, card: CheckedCard) -> AgentRpc:
        if self._leaving:
            raise Unavailable(f"{self._slug} is being let go of")
        former, self._rpc = (
            self._rpc,
            AgentRpc(
                card.url,
                slug=self._slug,
                open_pool=self._open_pool,
                headers=self._headers,
                limits=self._limits,
                repeatable=self._settings.idempotent,
            ),
        )
        rpc = self._rpc
        if former is not None:
            self._former.append(former)  # calls may still be under way on it
        while len(self._former) > MOST_FORMER:
            await self._former.pop(0).aclose()
        return rpc

    async def _refresh(self) -> CheckedCard:
        where = card_url(self._settings.card)
        try:
            with anyio.fail_after(CARD_TIMEOUT_S):
                raw = await self._fetch(where)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._slug} did not show its card in time") from error
        if self._card is None or raw != self._card.raw:
            try:
                self._card = check_card(raw, where, url=self._settings.url)
            except InvalidRequest as error:
                # Whoever calls the agent reads this; the addresses in question are for operators.
                log.warning("card not acceptable", agent=self._slug, reason=error.message)
                field = json_text(error.detail.get("field"), "form")
                raise UpstreamFailed(
                    f"the card of {self._slug} is not acceptable: see its {field}",
                    for_operators=f"the card of {self._slug} is not acceptable: {error.message}",
                ) from error
        return self._card


def _resolved(headers: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    return {
        name: secrets.resolve(value).reveal() if value.startswith(_REFERENCES) else value
        for name, value in headers.items()
    }
