"""The pages a person sees who connects an account. Plain ASGI, no scripts, nothing to be framed or cached."""

import re
from collections.abc import Sequence
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from adapters.oauth.code_flow import VALID_S
from adapters.oauth.connecting import CALLBACK, CLIENT_DOCUMENT, CONNECT, MARKED_DOCUMENT, Connecting, new_browser
from adapters.oauth.login import LOGIN_CALLBACK
from gateway.core.errors import Denied, GatewayError, NotFound

log = structlog.get_logger(__name__)

COOKIE = "drawbridge-connect"
_MARK = "([0-9a-f]{32})"
_CALLBACK = re.compile(rf"{CALLBACK}(?:/{_MARK})?")
_DOCUMENT = re.compile(f"{re.escape(CLIENT_DOCUMENT)}|{MARKED_DOCUMENT.format(_MARK).replace('.', '[.]')}")
_BROWSER = re.compile(r"[A-Za-z0-9_-]{32}")
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
        if method == "GET" and (document := _DOCUMENT.fullmatch(path)):
            body = orjson.dumps(self._connecting.client_document(document[1] or ""))
            await _answer(send, 200, [(b"content-type", b"application/json")], body)
        elif method == "GET" and (callback := _CALLBACK.fullmatch(path)):
            await self._finish(scope, send, callback[1] or "")
        elif path == LOGIN_CALLBACK and method == "GET":
            browser = self._known(scope)
            await self._go(send, await self._connecting.logged_in(_query(scope), browser), browser)
        elif path.startswith(CONNECT) and method == "GET":
            await self._ask(path.removeprefix(CONNECT), scope, send)
        elif path.startswith(CONNECT) and method == "POST":
            browser = self._known(scope)
            if not browser:
                raise Denied("your browser did not say which one it is: allow this page its cookie, and open it again")
            await self._go(send, await self._connecting.begin(path.removeprefix(CONNECT), browser), browser)
        else:
            raise NotFound("Nothing is here.")

    async def _ask(self, ticket: str, scope: Scope, send: Send) -> None:
        browser = self._known(scope) or new_browser()
        asked = await self._connecting.open(ticket, browser)
        tenant, subject = asked.owner
        said = (
            f"The gateway at {self._connecting.base} asks for your account at {asked.connection.slug}, to use it for"
            f" {subject} (tenant {tenant}). Go on only if that is you, and you have just asked for this: whoever calls"
            f" as {subject} will act by your account there."
        )
        if asked.scopes:
            said += f" {asked.connection.slug} now wants all of this: {', '.join(asked.scopes)}."
        if asked.login is not None:
            said += f" You are asked to log in as {subject} first."
        title, headers = f"Connect {asked.connection.slug}", [self._cookie(browser)]
        await _page(send, 200, title, said, button="Go on", headers=headers)

    async def _go(self, send: Send, url: str, browser: str) -> None:
        where = (b"location", url.encode())
        await _answer(send, 303, [where, (b"cache-control", b"no-store"), self._cookie(browser)], b"")

    async def _finish(self, scope: Scope, send: Send, mark: str) -> None:
        asked = await self._connecting.finish(_query(scope), self._known(scope), mark)
        slug, subject = asked.connection.slug, asked.owner[1]
        said = f"Your account at {slug} is connected for {subject}. You can close this page and go on where you were."
        await _page(send, 200, "Connected", said)

    @property
    def _secure(self) -> bool:
        return self._connecting.base.startswith("https:")

    @property
    def _cookie_name(self) -> str:
        # The prefix keeps other hosts of the same domain from setting it (RFC 6265bis); it needs https.
        return f"__Host-{COOKIE}" if self._secure else COOKIE

    def _cookie(self, browser: str) -> tuple[bytes, bytes]:
        secure = "; Secure" if self._secure else ""
        said = f"{self._cookie_name}={browser}; Path=/; Max-Age={VALID_S}; HttpOnly; SameSite=Lax{secure}"
        return b"set-cookie", said.encode()

    def _known(self, scope: Scope) -> str:
        """The name a browser comes with; empty where it has none that could be from here."""
        lines: list[tuple[bytes, bytes]] = scope["headers"]
        found = SimpleCookie()
        for name, value in lines:
            if name == b"cookie":
                try:
                    found.load(value.decode("latin-1"))
                except CookieError:
                    return ""
        browser = found[self._cookie_name].value if self._cookie_name in found else ""
        return browser if _BROWSER.fullmatch(browser) else ""


def _query(scope: Scope) -> dict[str, str]:
    raw: bytes = scope["query_string"][:LONGEST_QUERY]
    query: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in query:
            raise NotFound("The answer says something twice.")
        query[name] = value
    return query


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
