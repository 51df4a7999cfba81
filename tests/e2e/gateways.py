"""A real gateway for tests: a process of its own, a configuration of its own, and the means to talk to it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import httpx2

from examples.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
UP_WITHIN_S = 120.0
"""Generous, because the machine may be busy with other things; a failure to start is seen at once."""
DOWN_WITHIN_S = 120.0
ANSWERED = ("up", "stale", "down")
"""States of an upstream that was heard of, or not to be had; before that it is waited for."""
SHOWN_LOG = 4000
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


def key_of(name: str) -> str:
    """A strong key that is the same in each run, for `key: env:NAME_KEY`."""
    return sha256(f"e2e {name}".encode()).hexdigest()


class Gateway:
    """`python -m gateway serve` in a folder. `start` may be called again after `stop` and `kill`."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any], *, environment: Mapping[str, str]) -> None:
        """`configuration` as in gateway.yaml; the port is chosen here."""
        self.folder = folder
        self.port = free_port()
        self.configuration: dict[str, Any] = {**configuration}
        self.configuration["gateway"] = {"port": self.port, **configuration.get("gateway", {})}
        people = {**configuration.get("principals", {}), **configuration.get("agents", {})}
        keys = {f"{name.upper().replace('-', '_')}_KEY": key_of(name) for name in people}
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **keys, **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.write(self.configuration)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def data(self) -> Path:
        return self.folder / ".drawbridge"

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"

    @property
    def operator_key(self) -> str:
        return (self.data / "keys" / "operator.key").read_text().strip()

    def write(self, configuration: Mapping[str, Any]) -> None:
        """Put a configuration in the present one's place, as an editor does: at once."""
        self.write_text(json.dumps(configuration, indent=1))

    def write_text(self, configuration: str) -> None:
        """The same for what may be no configuration."""
        draft = self.config.with_suffix(".draft")
        draft.write_text(configuration)
        draft.replace(self.config)

    def start(self) -> None:
        """Start, and wait until it is ready and has heard of its servers and agents what there is to hear at first."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(self.config)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(self._is_ready, lambda: f"the gateway did not become ready; its log ends:\n{self.log_tail()}")
        # It is ready two seconds after it began to ask them: on a busy machine that may be before they have answered.
        until(self._has_asked, lambda: f"the gateway has not asked its servers; its log ends:\n{self.log_tail()}")

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the gateway ended; its log ends:\n{self.log_tail()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.HTTPError, OSError):
            return False

    def _has_asked(self) -> bool:
        people = self.configuration.get("principals", {})
        theirs = [key_of(name) for name, said in people.items() if said.get("kind") == "operator"]
        try:
            # An operator is shown the upstreams of its own tenant.
            return all(state in ANSWERED for key in (self.operator_key, *theirs) for state in self._states(key))
        except (urllib.error.HTTPError, OSError):
            return False

    def _states(self, key: str) -> list[str]:
        """Of the upstreams an operator is shown."""
        request = urllib.request.Request(f"{self.url}/api/v1/status", headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=UP_WITHIN_S) as answer:
            return [each["state"] for each in json.load(answer)["upstreams"]]

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=DOWN_WITHIN_S)

    def stop(self) -> int:
        """Ask it to stop, in good order; its exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(timeout=DOWN_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway did not stop within {DOWN_WITHIN_S} s") from None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def drawbridge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `drawbridge` command on this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments, "--config", str(self.config)],
            cwd=self.folder,
            # Wide enough that no table breaks what it says.
            env={**self.environment, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=UP_WITHIN_S,
            check=False,
        )

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-SHOWN_LOG:] if self.log.exists() else ""

    def __enter__(self) -> "Gateway":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop it if it runs."""
        if self.process is not None and self.process.poll() is None:
            with suppress(AssertionError):
                self.stop()


def until(reached: Callable[[], bool], complaint: Callable[[], str] = lambda: "it did not come to pass") -> None:
    """Look again and again whether another process has got somewhere."""
    deadline_s = time.monotonic() + UP_WITHIN_S
    while not reached():
        assert time.monotonic() < deadline_s, complaint()
        time.sleep(0.02)


async def eventually(reached: Callable[[], bool]) -> None:
    """As `until`, in a test that has an event loop."""
    with anyio.fail_after(UP_WITHIN_S):
        while not reached():  # noqa: ASYNC110 - another process gets there
            await anyio.sleep(0.02)


class Caller:
    """Somebody who talks JSON-RPC to a gateway, header by header."""

    def __init__(self, gateway: Gateway, who: str, key: str = "") -> None:
        self.gateway = gateway
        self.who = who
        self.key = key or key_of(who)
        limits = httpx2.Limits(max_connections=200)
        self._http = httpx2.AsyncClient(
            base_url=gateway.url, verify=False, trust_env=False, timeout=UP_WITHIN_S, limits=limits
        )

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def send(
        self, path: str, body: bytes, *more: tuple[str, str], without: tuple[str, ...] = (), method: str = "POST"
    ) -> httpx2.Response:
        """One request; `more` are further headers, also second copies, `without` names usual ones to leave out."""
        headers = [(name, value) for name, value in self._usual if name not in without]
        return await self._http.request(method, path, content=body, headers=[*headers, *more])

    def stream(self, path: str, body: bytes, *more: tuple[str, str]) -> AbstractAsyncContextManager[httpx2.Response]:
        """One request whose answer is read as it comes: within the block, it has begun."""
        return self._http.stream("POST", path, content=body, headers=[*self._usual, *more])

    @property
    def _usual(self) -> list[tuple[str, str]]:
        return [
            ("authorization", f"Bearer {self.key}"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ]

    async def modern(
        self, method: str, params: Mapping[str, Any], *more: tuple[str, str], path: str = "/mcp"
    ) -> httpx2.Response:
        """A well-formed request of 2026-07-28."""
        body, headers = modern_request(method, params)
        return await self.send(path, body, *headers, *more)

    async def call(self, tool: str, *, meta: Mapping[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """The JSON-RPC answer to a `tools/call`."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if meta:
            params["_meta"] = meta
        return answer_in(await self.modern("tools/call", params))

    async def tools(self, path: str = "/mcp") -> list[str]:
        """The names this caller sees."""
        said = answer_in(await self.modern("tools/list", {}, path=path))
        return sorted(each["name"] for each in said["result"]["tools"])

    async def a2a(self, slug: str, method: str, params: Mapping[str, Any], *more: tuple[str, str]) -> dict[str, Any]:
        """The JSON-RPC answer of an agent; of a stream, the last event."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return answer_in(await self.send(f"/agents/{slug}", body, ("a2a-version", "1.0"), *more))

    async def api(self, path: str, *, method: str = "GET", body: Any = None, **query: str) -> httpx2.Response:
        """The REST API."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self._http.request(
            method,
            f"/api/v1{path}",
            params=query,
            content=content,
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )

    async def records(self, count: int = 1, **query: str) -> list[dict[str, Any]]:
        """Audit records that fit `query`, once there are `count`: those nobody waits for are written a little later."""
        with anyio.fail_after(UP_WITHIN_S):
            while True:
                found = (await self.api("/audit", **query)).json()["records"]
                if len(found) >= count:
                    return found
                await anyio.sleep(0.02)

    async def record(self, record_id: str) -> dict[str, Any]:
        """What came of the call with that record."""
        with anyio.fail_after(UP_WITHIN_S):
            while True:
                said = (await self.api(f"/audit/{record_id}")).json()
                for each in said.get("records", ()):
                    if each["phase"] != "intent":
                        return each
                await anyio.sleep(0.02)


def operator(gateway: Gateway) -> Caller:
    return Caller(gateway, "operator", gateway.operator_key)


def modern_request(method: str, params: Mapping[str, Any]) -> tuple[bytes, list[tuple[str, str]]]:
    """Body and routing headers of a request of 2026-07-28."""
    meta = {
        f"{META}protocolVersion": MODERN,
        f"{META}clientCapabilities": {},
        f"{META}clientInfo": {"name": "e2e", "version": "1"},
        **params.get("_meta", {}),
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}).encode()
    headers = [("mcp-protocol-version", MODERN), ("mcp-method", method)]
    name = params.get("name") or params.get("uri")
    if name:
        headers.append(("mcp-name", str(name)))
    return body, headers


def answer_in(response: httpx2.Response) -> dict[str, Any]:
    """The JSON-RPC answer, whether it came alone or as the last event of a stream."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        said: dict[str, Any] = json.loads(events[-1])
        return said
    found: dict[str, Any] = response.json()
    return found


def text_of(said: Mapping[str, Any]) -> str:
    """What a tool's result says to be read."""
    return "\n".join(block.get("text", "") for block in said["result"]["content"])
