"""Accepted runs against a gateway that is killed in between: how many finish, and how often each has its effect.

python -m benchmarks.kills [--runs 10000] [--kills 5]

Each run calls an A2A agent and then a tool with an effect, under the idempotency key the ledger gives it. A client
keeps 50 runs going, repeats what a dead gateway did not answer under the same key, and goes on. The gateway is killed
(kill -9) at even distances and started again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx2

from benchmarks import rig

CONFIGURATION = """
agents: {{echo: {{card: "http://127.0.0.1:{agent}", idempotent: true}}}}
servers: {{effects: {{url: "http://127.0.0.1:{server}/mcp", tools: {{act: {{idempotency: "argument:key"}}}}}}}}
roles: {{bench: {{allow: ["workflow:order"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
workflows:
  order:
    pattern: sequential
    stages: [{{agent: echo}}, {{tool: effects/act, input: {{order: $task.order}}}}]
    limits: {{deadline_s: 600}}
gateway: {{port: {port}}}
"""
IN_FLIGHT = 50
HEADERS = {
    "authorization": f"Bearer {rig.KEY}",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "workflows__order",
}


@contextmanager
def gateway(where: Path, port: int) -> Generator["subprocess.Popen[bytes]"]:
    """One life of the gateway, however it ends."""
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(where / "gateway.yaml")]
    log = (where / "gateway.log").open("ab")
    environment = {**os.environ, "BENCH_KEY": rig.KEY}
    started = subprocess.Popen(
        [*command, "--data", str(where / "data")], env=environment, cwd=rig.ROOT, stdout=log, stderr=log
    )
    rig.wait_for(f"http://127.0.0.1:{port}/readyz", within_s=60)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
            started.wait(30)


class Client:
    """Has every run finished, whatever becomes of the gateway."""

    def __init__(self, port: int, runs: int) -> None:
        self._url = f"http://127.0.0.1:{port}/mcp"
        self._runs = runs
        self.finished: set[int] = set()
        self._one_more = anyio.Event()
        self.ended = 0
        """Runs that are over for this client, finished or not."""
        self.failed: Counter[str] = Counter()

    async def until_ended(self, runs: int) -> None:
        while self.ended < runs:
            self._one_more = anyio.Event()
            await self._one_more.wait()

    async def work(self) -> None:
        numbers = iter(range(self._runs))
        async with httpx2.AsyncClient(timeout=120, limits=httpx2.Limits(max_connections=IN_FLIGHT)) as client:

            async def worker() -> None:
                for number in numbers:
                    await self._until_done(client, number)
                    self.ended += 1
                    self._one_more.set()

            async with anyio.create_task_group() as group:
                for _ in range(IN_FLIGHT):
                    group.start_soon(worker)

    async def _until_done(self, client: httpx2.AsyncClient, number: int) -> None:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "drawbridge/idempotency-key": f"order-{number}",
        }
        arguments = {"message": "go", "data": {"order": f"o{number}"}}
        params = {"name": "workflows__order", "arguments": arguments, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        while True:
            try:
                answer = await client.post(self._url, json=body, headers=HEADERS)
            except httpx2.TransportError:
                await anyio.sleep(0.2)
                continue
            if '"isError":false' in answer.text or ('"result"' in answer.text and '"isError":true' not in answer.text):
                self.finished.add(number)
                return
            self.failed[answer.text[-160:]] += 1
            if 'retryable":true' not in answer.text:
                return
            await anyio.sleep(0.5)


async def lives(where: Path, port: int, client: Client, runs: int, kills: int) -> None:
    """Gateways one after another, each but the last killed after its share of the runs."""
    async with anyio.create_task_group() as group:
        done = anyio.Event()

        async def work() -> None:
            await client.work()
            done.set()

        group.start_soon(work)
        for life in range(1, kills + 1):
            with gateway(where, port) as running:
                await client.until_ended(runs * life // (kills + 1))
                running.kill()
                running.wait()
        with gateway(where, port):
            await done.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        agent, server, port = rig.free_port(), rig.free_port(), rig.free_port()
        effects = where / "effects.log"
        stack.enter_context(rig.process(sys.executable, "-m", "benchmarks.echo_agent", str(agent)))
        stack.enter_context(rig.process(sys.executable, "-m", "benchmarks.effects_server", str(server), str(effects)))
        rig.wait_for_port(agent)
        rig.wait_for_port(server)
        (where / "gateway.yaml").write_text(CONFIGURATION.format(agent=agent, server=server, port=port))
        client = Client(port, options.runs)
        began = time.monotonic()
        anyio.run(lives, where, port, client, options.runs, options.kills)
        took = time.monotonic() - began
        orders = Counter(line.split()[1] for line in effects.read_text().splitlines())
    twice = sum(times > 1 for times in orders.values())
    row = (
        str(options.runs),
        str(options.kills),
        str(len(client.finished)),
        str(len(orders)),
        str(twice),
        f"{took:.0f}",
        f"{options.runs / took:.1f}",
    )
    head = ("accepted", "kill -9", "finished", "effects", "effects twice", "seconds", "runs/s")
    rig.table("runs that outlive their gateway", head, [row])
    if client.failed:
        print(json.dumps(client.failed.most_common(5), indent=2))


if __name__ == "__main__":
    main()
