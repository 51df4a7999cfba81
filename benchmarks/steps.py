"""What an orchestrated step adds to the agent's own time: a sequential workflow of many stages against direct calls.

python -m benchmarks.steps [--stages 20] [--runs 10]
"""

import argparse
import json
import statistics
import sys
import time
import urllib.request
from contextlib import ExitStack

from benchmarks import rig

CONFIGURATION = """
agents: {{echo: {{card: "http://127.0.0.1:{port}", delegation: true}}}}
roles: {{bench: {{allow: ["workflow:long"]}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
workflows:
  long:
    pattern: sequential
    stages: [{stages}]
    limits: {{deadline_s: 120}}
"""


def post(url: str, body: dict[str, object], headers: dict[str, str]) -> float:
    """Milliseconds until the whole answer is there. Stops the benchmark at an answer that is no success."""
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json", **headers}
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=120) as response:
        said = response.read()
    took_ms = (time.monotonic() - began) * 1e3
    if b'"isError":true' in said or b'"error"' in said:
        raise SystemExit(f"not a success: {said[:500]!r}")
    return took_ms


def direct(port: int, number: int) -> float:
    message = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    body: dict[str, object] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendStreamingMessage",
        "params": {"message": message},
    }
    return post(f"http://127.0.0.1:{port}/", body, {"a2a-version": "1.0", "accept": "text/event-stream"})


def run(port: int, number: int) -> float:
    meta: dict[str, object] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "drawbridge/idempotency-key": f"bench-{number}",
    }
    params: dict[str, object] = {"name": "workflows__long", "arguments": {"message": "hello"}, "_meta": meta}
    headers = {
        "authorization": f"Bearer {rig.KEY}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "workflows__long",
    }
    body: dict[str, object] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return post(f"http://127.0.0.1:{port}/mcp", body, headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        agent = rig.free_port()
        stack.enter_context(rig.process(sys.executable, "-m", "benchmarks.echo_agent", str(agent)))
        rig.wait_for_port(agent)
        stages = ", ".join(f"{{agent: echo, name: s{number}}}" for number in range(options.stages))
        running = stack.enter_context(rig.gateway(where, CONFIGURATION.format(port=agent, stages=stages)))
        for number in range(20):
            direct(agent, number)
        alone = [direct(agent, number) for number in range(200)]
        run(running.port, -1)
        before = rig.cpu_s(running.pid)
        runs = [run(running.port, number) for number in range(options.runs)]
        cpu_ms = (rig.cpu_s(running.pid) - before) / (options.runs * options.stages) * 1e3
        per_step = [took_ms / options.stages for took_ms in runs]
        own, whole = statistics.median(alone), statistics.median(per_step)
        rows = [(f"{own:.2f}", f"{whole:.2f}", f"{whole - own:+.2f}", f"{cpu_ms:.2f}")]
        head = ("agent alone, p50 ms", "step, p50 ms", "added ms", "gateway CPU ms/step")
        rig.table(f"an orchestrated step ({options.runs} runs of {options.stages} stages)", head, rows)


if __name__ == "__main__":
    main()
