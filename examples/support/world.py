"""The demo's world: two MCP servers, four agents and a gateway, each a process of its own on a free port."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from examples.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ("triage", "refunds", "replacements", "scheduling")
CONFIGURED_PORTS = {"orders": 9001, "triage": 9101, "refunds": 9102, "replacements": 9103, "scheduling": 9104}
UP_WITHIN_S = 120.0
KEYS = {name: f"demo-{name}-key-only-for-this-machine" for name in ("ana", *AGENTS)}
"""Credentials of the demo. The gateway refuses to listen on anything but loopback while they are in use."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why, and where to look."""


@dataclass(slots=True, kw_only=True)
class World:
    """Everything that runs, and where it keeps its files."""

    folder: Path
    ports: dict[str, int]
    stack: ExitStack
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def environment(self) -> Mapping[str, str]:
        keys = {f"{name.upper()}_KEY": key for name, key in KEYS.items()}
        return {**os.environ, **keys, "PYTHONPATH": str(ROOT), "GATEWAY_MCP_URL": f"{self.url}/mcp"}

    def start_neighbours(self, *, without: str = "") -> None:
        """Start the servers and agents, all but one."""
        self._start("orders", "examples.support.orders_server", "--db", str(self.folder / "shop.db"))
        for agent in AGENTS:
            if agent != without:
                self._start(agent, f"examples.support.{agent}", AGENT_KEY=KEYS[agent])
        for name in ("orders", *AGENTS):
            if name != without:
                self._wait_for(name)

    def start_gateway(self) -> None:
        """Start the gateway, the first time or again, and wait until it is ready."""
        self._spawn("gateway", ["-m", "gateway", "serve", "--config", str(self.config)])
        self._wait_for("gateway", "/readyz")

    def kill_gateway(self) -> None:
        """kill -9, in the middle of whatever it is doing."""
        process = self.processes["gateway"]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)

    def stop(self, name: str) -> None:
        """Stop one of the processes in good order."""
        _stop(self.processes[name])

    def drawbridge(self, *arguments: str) -> int:
        """Run a `drawbridge` command against the demo's gateway; its output goes to the terminal."""
        command = [sys.executable, "-m", "gateway", *arguments, "--config", str(self.config)]
        return subprocess.run(command, cwd=self.folder, env=dict(self.environment), check=False, timeout=120).returncode  # noqa: S603 - ours

    def effects(self) -> dict[str, list[tuple[object, ...]]]:
        """What really happened: every refund and shipment in the shop, every call-back in the calendar."""
        queries = {
            "refunds": ("shop.db", "SELECT order_id, amount FROM refunds ORDER BY 1"),
            "shipments": ("shop.db", "SELECT order_id, sku, method FROM shipments ORDER BY 1"),
            "call-backs": ("calendar.db", "SELECT day, slot, topic FROM callbacks ORDER BY 2"),
        }
        found: dict[str, list[tuple[object, ...]]] = {}
        for name, (file, query) in queries.items():
            with closing(sqlite3.connect(self.folder / file, timeout=10)) as connection:
                found[name] = connection.execute(query).fetchall()
        return found

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        port = self.ports[name]
        self._spawn(name, ["-m", module, "--port", str(port), *arguments], **environment)

    def _spawn(self, name: str, arguments: list[str], **environment: str) -> None:
        log = self.stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.processes[name] = process
        self.stack.callback(_stop, process)

    def _wait_for(self, name: str, path: str = "/") -> None:
        """Wait until something answers, with whatever status an HTTP server gives to a stranger."""
        deadline = time.monotonic() + UP_WITHIN_S
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        while time.monotonic() < deadline:
            if self.processes[name].poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if path == "/" or error.code == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        tail = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
        raise DemoFailed(f"{name} did not come up; its log ends:\n{tail}")


def make_world(folder: Path, stack: ExitStack) -> World:
    """A world in `folder`: its configuration is the example's, with free ports in place of the written ones."""
    ports = {name: free_port() for name in (*CONFIGURED_PORTS, "gateway")}
    text = (Path(__file__).parent / "gateway.yaml").read_text()
    for name, written in CONFIGURED_PORTS.items():
        text = text.replace(f":{written}", f":{ports[name]}")
    text = text.replace("command: [python,", f"command: [{sys.executable},")
    world = World(folder=folder, ports=ports, stack=stack)
    world.config.write_text(
        f"{text}\ngateway: {{port: {ports['gateway']}}}\naudit: {{bodies: true, checkpoint_s: 1}}\n"
    )
    return world


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
