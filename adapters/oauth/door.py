"""The pages a person sees who connects an account. Plain ASGI, no scripts, nothing to be framed or cached."""

from collections.abc import Sequence
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from adapters.oauth.connecting import CALLBACK, CLIENT_DOCUMENT, CONNECT, VALID_S, Connecting
from gateway.core.errors import GatewayError, NotFound

log = structlog.get_logger(__name__)

COOKIE = "drawbridge-connect"
LONGEST_QUERY = 16 * 1024
_PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
Lines = Sequence[tuple[bytes, bytes]]


class ConnectDoor:
    """An ASGI application for everything under `/oauth/`."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, send)
        except GatewayError as error:
            await _page(send, error.wire.http, "This did not work", error.message)
        except Exception:
            log.exception("door failed")
            await _page(send, 500, "This did not work", "The gateway failed; its log has the rest.")

    async def _serve(self, scope: Scope, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == CLIENT_DOCUMENT and method == "GET":
            body = orjson.dumps(self._connecting.client_document())
            await _answer(send, 200, [(b"content-type", b"application/json")], body)
        elif path == CALLBACK and method == "GET":
            await self._finish(scope, send)
        elif path.startswith(CONNECT) and method == "GET":
            await self._ask(path.removeprefix(CONNECT), send)
        elif path.startswith(CONNECT) and method == "POST":
            await self._begin(path.removeprefix(CONNECT), send)
        else:
            raise NotFound("Nothing is here.")

    async def _ask(self, ticket: str, send: Send) -> None:
        asked = self._connecting.asked(ticket)
        tenant, subject = asked.owner
        said = (
            f"The gateway at {self._connecting.base} asks for your account at {asked.connection.slug}, to use it for"
            f" {subject} (tenant {tenant}). Go on only if that is you: whoever calls as {subject} will act by your"
            " account there."
        )
        await _page(send, 200, f"Connect {asked.connection.slug}", said, button="Go on")

    async def _begin(self, ticket: str, send: Send) -> None:
        begun = await self._connecting.begin(ticket)
        where = (b"location", begun.url.encode())
        await _answer(send, 303, [where, (b"cache-control", b"no-store"), self._cookie(begun.cookie, VALID_S)], b"")

    async def _finish(self, scope: Scope, send: Send) -> None:
        raw: bytes = scope["query_string"][:LONGEST_QUERY]
        query: dict[str, str] = {}
        for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
            if name in query:
                raise NotFound("The answer says something twice.")
            query[name] = value
        asked = await self._connecting.finish(query, _cookie_in(scope))
        slug, subject = asked.connection.slug, asked.owner[1]
        said = f"Your account at {slug} is connected for {subject}. You can close this page and go on where you were."
        await _page(send, 200, "Connected", said, headers=[self._cookie("", 0)])

    def _cookie(self, value: str, age_s: int) -> tuple[bytes, bytes]:
        secure = "; Secure" if self._connecting.base.startswith("https:") else ""
        said = f"{COOKIE}={value}; Path=/oauth/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", said.encode()


def _cookie_in(scope: Scope) -> str:
    lines: list[tuple[bytes, bytes]] = scope["headers"]
    found = SimpleCookie()
    for name, value in lines:
        if name == b"cookie":
            try:
                found.load(value.decode("latin-1"))
            except CookieError:
                return ""
    return found[COOKIE].value if COOKIE in found else ""


async def _page(send: Send, status: int, title: str, text: str, *, button: str = "", headers: Lines = ()) -> None:
    form = f'<form method="post"><button>{escape(button)}</button></form>' if button else ""
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{form}</html>"
    )
    await _answer(send, status, [*_PAGE_HEADERS, *headers], body.encode())


async def _answer(send: Send, status: int, headers: Lines, body: bytes) -> None:
    lines = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
