"""Accounts that people connected, over REST: whose, at which server; ending one; beginning one. Never a token.

And where the gateway registered itself for them, and having that forgotten where the issuer forgot it.
"""

from starlette.responses import Response

from adapters.http.api_call import Call, Recorder, answer
from adapters.http.api_endpoint import Endpoint, object_of
from adapters.http.api_ports import AccountKeeper
from adapters.http.api_views import rfc3339
from gateway.core.errors import NotFound
from gateway.core.json import Json, JsonObject, json_text

_TEXT: JsonObject = {"type": "string", "minLength": 1, "maxLength": 300}
_LINK = object_of({"server": _TEXT, "subject": _TEXT}, "server", "subject")
ACCOUNTS: tuple[Endpoint, ...] = (
    Endpoint(id="list_accounts", method="GET", path="/accounts", summary="Accounts people connected, without tokens"),
    Endpoint(
        id="link_account",
        method="POST",
        path="/accounts",
        summary="An address at which a person connects their account at a server",
        body=_LINK,
    ),
    Endpoint(
        id="revoke_account",
        method="DELETE",
        path="/accounts/{server}/{subject}",
        summary="Forget the tokens of a person's account at a server",
        status=204,
    ),
    Endpoint(
        id="list_registrations",
        method="GET",
        path="/registrations",
        summary="Issuers at which the gateway registered itself as a client, also for servers that are gone",
    ),
    Endpoint(
        id="forget_registrations",
        method="DELETE",
        path="/registrations/{server}",
        summary="Forget what the issuers of a server registered the gateway as, so that it registers anew",
        status=204,
    ),
)


class AccountEndpoints:
    def __init__(self, *, accounts: AccountKeeper, recorder: Recorder) -> None:
        self._accounts = accounts
        self._recorder = recorder

    async def list_accounts(self, call: Call) -> Response:
        found: list[Json] = [
            {
                "server": each.server,
                "subject": each.subject,
                "scope": each.scope,
                "connectedAt": rfc3339(each.connected_at_us),
                "renewedAt": rfc3339(each.renewed_at_us),
            }
            for each in await self._accounts.all(call.tenant)
        ]
        return answer({"accounts": found})

    async def link_account(self, call: Call) -> Response:
        server, subject = json_text(call.body.get("server")), json_text(call.body.get("subject"))
        async with self._recorder.change(call, "tokens.connect", detail={"server": server, "subject": subject}):
            url = self._accounts.link(call.tenant, server, subject)
        return answer({"url": url})

    async def revoke_account(self, call: Call) -> Response:
        server, subject = call.path("server"), call.path("subject")
        async with self._recorder.change(call, "tokens.revoke", detail={"server": server, "subject": subject}):
            if not await self._accounts.revoke(call.tenant, server, subject):
                raise NotFound("nobody of that name has connected an account at that server")
        return Response(status_code=204)

    async def list_registrations(self, call: Call) -> Response:
        found: list[Json] = [
            {"server": each.server, "issuer": each.issuer, "registeredAt": rfc3339(each.made_at_us)}
            for each in await self._accounts.registered(call.tenant)
        ]
        return answer({"registrations": found})

    async def forget_registrations(self, call: Call) -> Response:
        server = call.path("server")
        async with self._recorder.change(call, "registrations.forget", detail={"server": server}):
            if not await self._accounts.register_anew(call.tenant, server):
                raise NotFound("the gateway registered itself at no issuer of a server of that name")
        return Response(status_code=204)
