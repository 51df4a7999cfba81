"""Requests byte by byte, for what no HTTP library would send."""

import anyio

from tests.e2e.gateways import Gateway, key_of


async def first_bytes(gateway: Gateway, head: str, body: bytes = b"") -> bytes:
    """What is answered to raw bytes, sent for as long as anybody reads them."""
    received = b""
    with anyio.fail_after(120):
        async with await anyio.connect_tcp("127.0.0.1", gateway.port) as stream, anyio.create_task_group() as group:

            async def pour() -> None:
                try:
                    await stream.send(head.replace("\n", "\r\n").encode())
                    for start in range(0, len(body), 65536):
                        await stream.send(body[start : start + 65536])
                except anyio.BrokenResourceError:
                    pass

            group.start_soon(pour)
            while b"\r\n\r\n" not in received or len(received) < _length_in(received):
                try:
                    received += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
            group.cancel_scope.cancel()
    return received


def _length_in(received: bytes) -> int:
    head, _, _ = received.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    return len(head) + 4 + (lengths[0] if lengths else 0)


def head_of(gateway: Gateway, path: str, *more: str, who: str = "ana", host: str = "") -> str:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{gateway.port}'}",
        f"Authorization: Bearer {key_of(who)}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "A2A-Version: 1.0",
        *more,
    ]
    return "\n".join(lines) + "\n\n"
