"""What an open event stream costs: resident memory of a gateway that holds many, of either era.

python -m benchmarks.streams [--streams 2000]
"""

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable

from benchmarks import rig

# One caller may hold a quarter of all streams.
CONFIGURATION = """
roles: {{bench: {{allow: ["*"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
limits: {{streams: {limit}}}
"""
ACCEPT = "accept: application/json, text/event-stream\r\n"
MODERN = ACCEPT + "mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\n"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
LISTEN = {"notifications": {"toolsListChanged": True}, "_meta": ENVELOPE}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def send(peer: Peer, method: str, lines: str, body: object = None) -> dict[str, str]:
    """Send a request on a connection; the headers of its answer."""
    reader, writer = peer
    host, port = writer.get_extra_info("peername")
    raw = "" if body is None else json.dumps(body)
    if raw:
        lines += f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n"
    head = f"{method} /mcp HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {rig.KEY}\r\n"
    writer.write(f"{head}{lines}\r\n{raw}".encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    if " 200 " not in answer[0]:
        raise SystemExit(f"not accepted: {answer[0]}")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in answer[1:] if line)}


async def modern(peer: Peer) -> None:
    """A subscription of 2026-07-28."""
    await send(peer, "POST", MODERN, {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": LISTEN})


async def legacy(peer: Peer) -> None:
    """The stream of a session of 2025-11-25."""
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    said = await send(peer, "POST", ACCEPT, hello)
    await peer[0].readexactly(int(said["content-length"]))
    await send(peer, "GET", f"{ACCEPT}mcp-session-id: {said['mcp-session-id']}\r\n")


async def held(port: int, count: int, opened: Callable[[Peer], Awaitable[None]], pid: int) -> tuple[float, float]:
    """Resident MB of the gateway while it holds so many streams, and its share of a core."""
    peers: list[Peer] = []
    places = asyncio.Semaphore(32)

    async def one() -> None:
        async with places:
            peer = await asyncio.open_connection("127.0.0.1", port)
            peers.append(peer)
            await opened(peer)
            await peer[0].readuntil(b"\n\n")

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    cpu, began = rig.cpu_s(pid), time.monotonic()
    await asyncio.sleep(15)  # longer than the pause between two signs of life
    share = (rig.cpu_s(pid) - cpu) / (time.monotonic() - began)
    resident = rig.resident_mb(pid)
    for _, writer in peers:
        writer.transport.abort()
    return resident, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    count = parser.parse_args().streams
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * count) if most > 0 else 4 * count, most))
    rows: list[tuple[str, ...]] = []
    for name, era in (("subscriptions/listen (2026-07-28)", modern), ("GET of a session (2025-11-25)", legacy)):
        with rig.folder() as where, rig.gateway(where, CONFIGURATION.format(limit=4 * count)) as running:
            asyncio.run(held(running.port, 20, era, running.pid))  # what the first ones load belongs to nobody
            before = rig.resident_mb(running.pid)
            after, share = asyncio.run(held(running.port, count, era, running.pid))
        each = f"{(after - before) * 1024 / count:.1f}"
        rows.append((name, str(count), f"{before:.0f}", f"{after:.0f}", each, f"{share:.1%}"))
    rig.table("open streams", ("streams", "count", "MB before", "MB with them", "KiB each", "CPU while idle"), rows)


if __name__ == "__main__":
    main()
