"""One request for the control plane: agent cards, metadata, tokens. Small, vetted, bounded, and never redirected."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

from adapters.net.address import Address, address_from_url
from adapters.net.egress import EgressGuard
from adapters.net.http1 import Pool, PoolLimits, header_lines
from gateway.core.errors import UpstreamFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a URL gave, with status 200."""

    body: bytes
    content_type: str
    """Media type in lower case, without parameters; empty where none was named."""
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What somebody answered, whatever the status."""

    status: int
    body: bytes
    content_type: str
    """See `Fetched`."""
    etag: str = ""


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
JSON_WANTED: tuple[tuple[str, str], ...] = (("accept", "application/json"),)


async def fetch(
    url: str,
    *,
    guard: EgressGuard | None,
    tls: ssl.SSLContext | None,
    timeout_s: float = 10.0,
    limit_bytes: int = 1024 * 1024,
    headers: Iterable[tuple[str, str]] = JSON_WANTED,
) -> Fetched:
    """What is at `url`. `guard` may be None only for an address from the configuration.

    Raises: InvalidRequest: not an http(s) URL; Denied: the guard refuses it; Unavailable; DeadlineExceeded;
        UpstreamFailed: any status but 200, redirects included, or too large.
    """
    told = await ask(url, guard=guard, tls=tls, timeout_s=timeout_s, limit_bytes=limit_bytes, headers=headers)
    if told.status != 200:
        raise UpstreamFailed(f"the host answered with HTTP status {told.status}")
    return Fetched(body=told.body, content_type=told.content_type, etag=told.etag)


async def ask(
    url: str,
    *,
    guard: EgressGuard | None,
    tls: ssl.SSLContext | None,
    form: bytes | None = None,
    media_type: str = FORM,
    timeout_s: float = 10.0,
    limit_bytes: int = 1024 * 1024,
    headers: Iterable[tuple[str, str]] = JSON_WANTED,
) -> Told:
    """What `url` answers to a GET, or to a POST of `form`; a form is sent once, whatever comes of it. See `fetch`."""
    address = address_from_url(url)
    pool = _pool(address, guard, tls, timeout_s)
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    posted = () if form is None else (("content-type", media_type),)
    try:
        response = await pool.send(
            b"GET" if form is None else b"POST",
            address.target.encode(),
            header_lines((*headers, *posted)),
            form or b"",
            deadline_s=deadline_s,
            replay=form is None,
        )
        if 300 <= response.status < 400:
            # The place it points to was not vetted, and was not what somebody agreed to.
            raise UpstreamFailed("the host answered with a redirect, which is not followed")
        body = await response.read(limit_bytes)
    finally:
        await pool.aclose()
    answered = response.header(b"content-type").partition(b";")[0].strip().lower()
    return Told(
        status=response.status,
        body=body,
        content_type=answered.decode("latin-1"),
        etag=response.header(b"etag").decode("latin-1"),
    )


async def knock(
    url: str, *, tls: ssl.SSLContext | None, message: bytes | None = None, timeout_s: float = 5.0
) -> tuple[int, str]:
    """How an address of the configuration answers who shows no token: status and `WWW-Authenticate`. See `fetch`.

    `message`: JSON that is posted; None: it is got.
    """
    address = address_from_url(url)
    pool = _pool(address, None, tls, timeout_s)
    headers = [("accept", f"{JSON}, text/event-stream"), *([] if message is None else [("content-type", JSON)])]
    try:
        response = await pool.send(
            b"GET" if message is None else b"POST",
            address.target.encode(),
            header_lines(headers),
            message or b"",
            deadline_s=asyncio.get_running_loop().time() + timeout_s,
            replay=True,
        )
        # What it has to say to strangers is of no interest, and may never end.
        response.close()
    finally:
        await pool.aclose()
    return response.status, response.header(b"www-authenticate").decode("latin-1")


def _pool(address: Address, guard: EgressGuard | None, tls: ssl.SSLContext | None, timeout_s: float) -> Pool:
    limits = PoolLimits(connections=1, queue=0, connect_timeout_s=min(timeout_s, 5.0))
    return Pool(address, name="the host", tls=tls, limits=limits, guard=guard)
