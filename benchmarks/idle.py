"""What a run costs that waits for a person: resident memory and CPU of a gateway with many of them.

python -m benchmarks.idle [--runs 1000]
"""

import argparse
import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from benchmarks import rig

CONFIGURATION = """
agents: {{echo: {{card: "http://127.0.0.1:{agent}"}}}}
roles: {{bench: {{allow: ["workflow:claim"]}}, chief: {{allow: []}}}}
principals: {{bench: {{roles: [bench], key: "env:BENCH_KEY"}}}}
limits: {{run_timeout_s: 86400}}
workflows:
  claim:
    pattern: sequential
    stages: [{{agent: echo, approve: {{question: "Pay?", role: chief, timeout_s: 86400}}}}]
"""


def begin(port: int, number: int) -> None:
    """Start a run over A2A, and do not wait for its end."""
    message = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": "pay"}]}
    params = {"message": message, "configuration": {"returnImmediately": True}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    headers = {"authorization": f"Bearer {rig.KEY}", "content-type": "application/json", "a2a-version": "1.0"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/agents/claim", data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        said = json.loads(response.read())
    if "error" in said:
        raise SystemExit(f"not accepted: {said}")


def waiting(running: rig.Running) -> int:
    key = (running.data / "keys" / "operator.key").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/api/v1/approvals?state=pending&limit=1000",
        headers={"authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return len(json.loads(response.read())["approvals"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    with ExitStack() as stack:
        where = stack.enter_context(rig.folder())
        agent = rig.free_port()
        stack.enter_context(rig.process(sys.executable, "-m", "benchmarks.echo_agent", str(agent)))
        rig.wait_for_port(agent)
        running = stack.enter_context(rig.gateway(where, CONFIGURATION.format(agent=agent)))
        begin(running.port, -1)
        time.sleep(2)
        before = rig.resident_mb(running.pid)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(begin, running.port), range(options.runs - 1)))
        until = time.monotonic() + 300
        while (found := waiting(running)) < options.runs and time.monotonic() < until:
            time.sleep(0.5)
        after = rig.resident_mb(running.pid)
        cpu, began = rig.cpu_s(running.pid), time.monotonic()
        time.sleep(10)
        share = (rig.cpu_s(running.pid) - cpu) / (time.monotonic() - began)
    row = (str(found), f"{before:.0f}", f"{after:.0f}", f"{after - before:+.0f}", f"{share:.1%}")
    head = ("waiting", "MB before", "MB with them", "MB for them", "CPU while idle")
    rig.table("runs that wait for an approval", head, [row])


if __name__ == "__main__":
    main()
