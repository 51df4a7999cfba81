"""A story's world: its agents and servers in this process, the gateway in one of its own, everything on 127.0.0.1."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import yaml
from anyio.from_thread import BlockingPortal, start_blocking_portal

from examples.stories.kit.agents import Asked
from examples.stories.kit.callers import Door, Told, by_a2a, by_mcp
from examples.stories.kit.effects import Effects
from examples.stories.kit.neighbours import Neighbours
from examples.stories.kit.story import Ask, Story
from examples.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
UP_WITHIN_S = 120.0
SHOWN_LOG = 4000


class StoryFailed(Exception):
    """The story cannot go on; the message says why, and where to look."""


def key_of(name: str) -> str:
    """Credentials of the stories. The gateway refuses to listen on anything but loopback while they are in use."""
    return f"demo-{name}-key-only-for-this-machine"


class World:
    """A story being told. To be made by `telling`."""

    def __init__(self, story: Story, folder: Path, portal: BlockingPortal) -> None:
        self.story = story
        self.folder = folder
        self._portal = portal
        self._port = free_port()
        self.neighbours = Neighbours(story, self.url, key_of)
        self._gateway: subprocess.Popen[bytes] | None = None
        self._up = anyio.Event()
        self._killed = 0
        self._asks = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def asked(self) -> Mapping[str, Sequence[Asked]]:
        """What each agent was asked, in order."""
        return self.neighbours.asked

    @property
    def effects(self) -> Mapping[str, Effects]:
        """What each server really did."""
        return self.neighbours.effects

    @property
    def order(self) -> Sequence[str]:
        """Agents, and tools as `SERVER/NAME`, in the order in which they were called."""
        return self.neighbours.order

    def ask(self, ask: Ask) -> Told:
        """The answer to a request by MCP; the same when the gateway is killed meanwhile and comes back."""
        return self.begin(ask).result()

    def begin(self, ask: Ask) -> "Future[Told]":
        """Ask by MCP, and go on."""
        name = f"workflows__{ask.workflow}"
        arguments: dict[str, Any] = {"message": ask.message, **({"data": dict(ask.data)} if ask.data else {})}
        return self._portal.start_task_soon(by_mcp, self._door(ask), name, arguments, self._key(ask))

    def ask_together(self, *asks: Ask) -> list[Told]:
        """The answers to requests made at the same time."""
        return [each.result() for each in [self.begin(ask) for ask in asks]]

    def ask_a2a(self, ask: Ask) -> Told:
        """The answer to a request by A2A."""
        key = self._key(ask)
        return self._portal.call(by_a2a, self._door(ask), ask.workflow, ask.message, ask.data, key, ask.conversation)

    def crash_at(self, number: int) -> None:
        """Kill the gateway (kill -9) when the call of this number, counted from now, has arrived at an agent or a
        tool, and start it again; the call goes on."""
        self._portal.call(self.neighbours.turnstile.hold, number)
        self._portal.start_task_soon(self._crash)

    def explained(self, run: str) -> dict[str, Any]:
        """What happened in a run: `agents`, `steps`, `failure`, `decisions`, `totals`."""
        return self.api(f"/runs/{run}/explanation")["explanation"]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first."""
        return self.api("/runs", limit="1000")["runs"]

    def audit(self, **query: str) -> list[dict[str, Any]]:
        """Records of the audit log that fit, once what came of each call among them is there: that is written a
        little later. Raises: StoryFailed: of one it never is."""
        deadline_s = time.monotonic() + UP_WITHIN_S
        while True:
            records: list[dict[str, Any]] = self.api("/audit", **query)["records"]
            open_ids = {each["id"] for each in records if each["phase"] == "intent"}
            if open_ids <= {each["id"] for each in records if each["phase"] != "intent"}:
                return records
            if time.monotonic() > deadline_s:
                raise StoryFailed("the record does not say what came of a call")
            time.sleep(0.02)

    def api(self, path: str, **query: str) -> dict[str, Any]:
        """What the REST API answers an operator."""
        key = (self.folder / ".drawbridge" / "keys" / "operator.key").read_text().strip()
        url = f"{self.url}/api/v1{path}{'?' if query else ''}{urlencode(query)}"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            said: dict[str, Any] = json.load(answer)
        return said

    def drawbridge(self, *arguments: str, who: str = "") -> subprocess.CompletedProcess[str]:
        """Run a `drawbridge` command on this world's gateway; `who`: a principal in the operator's place."""
        theirs = {"DRAWBRIDGE_URL": self.url, "DRAWBRIDGE_OPERATOR_KEY": key_of(who)} if who else {}
        return subprocess.run(  # noqa: S603 - ours
            [sys.executable, "-m", "gateway", *arguments, "--config", str(self.config)],
            cwd=self.folder,
            env={**self._environment(), **theirs},
            capture_output=True,
            text=True,
            timeout=UP_WITHIN_S,
            check=False,
        )

    def log_tail(self) -> str:
        log = self.folder / "gateway.log"
        return log.read_text(errors="replace")[-SHOWN_LOG:] if log.exists() else ""

    def kill_gateway(self) -> None:
        """kill -9."""
        if self._gateway is not None:
            self._portal.call(self._went)
            self._gateway.kill()
            self._gateway.wait(timeout=60)

    def start_gateway(self) -> None:
        """Start it, the first time or again, and wait until it is ready."""
        self.config.write_text(json.dumps(self._configuration(), indent=1))
        with (self.folder / "gateway.log").open("ab") as log:
            self._gateway = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "gateway", "serve", "--config", str(self.config)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not (self._is_ready() and self._has_asked()):
            if self._gateway.poll() is not None or time.monotonic() > deadline_s:
                raise StoryFailed(f"the gateway did not come up; its log ends:\n{self.log_tail()}")
            time.sleep(0.02)
        self._portal.call(self._came)

    def stop_gateway(self) -> None:
        """Stop it, in good order."""
        if self._gateway is None or self._gateway.poll() is not None:
            return
        self._gateway.terminate()
        try:
            self._gateway.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._gateway.kill()
            self._gateway.wait(timeout=60)

    async def _crash(self) -> None:
        await self.neighbours.turnstile.held.wait()
        await anyio.to_thread.run_sync(self.kill_gateway)
        self.neighbours.turnstile.release()
        await anyio.to_thread.run_sync(self.start_gateway)

    def _went(self) -> None:
        self._killed += 1
        if self._up.is_set():
            self._up = anyio.Event()

    def _came(self) -> None:
        self._up.set()

    async def _back(self) -> bool:
        if not self._killed:
            return False
        await self._up.wait()
        return True

    def _door(self, ask: Ask) -> Door:
        return Door(url=self.url, key=key_of(ask.who), back=self._back)

    def _key(self, ask: Ask) -> str:
        self._asks += 1
        return ask.key or f"ask-{self._asks}"

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own
                return answer.status == 200
        except (urllib.error.HTTPError, OSError):
            return False

    def _has_asked(self) -> bool:
        """Whether it knows of each neighbour if it is there: on a busy machine that takes longer than to be ready."""
        try:
            return all(each["state"] != "waiting" for each in self.api("/status")["upstreams"])
        except (urllib.error.HTTPError, OSError):
            return False

    def _configuration(self) -> dict[str, Any]:
        """The story's own, with the ports of this telling."""
        said: dict[str, Any] = yaml.safe_load((self.story.folder / "gateway.yaml").read_text())
        for section, address in (("agents", "card"), ("servers", "url")):
            for name, entry in said.get(section, {}).items():
                if name not in self.neighbours.urls:
                    raise StoryFailed(f"{self.story.folder.name}: nobody is {section}.{name}")
                entry[address] = self.neighbours.urls[name]
        said["gateway"] = {**said.get("gateway", {}), "port": self._port}
        return said

    def _environment(self) -> dict[str, str]:
        said: dict[str, Any] = yaml.safe_load((self.story.folder / "gateway.yaml").read_text())
        names = {**said.get("principals", {}), **said.get("agents", {})}
        keys = {f"{name.upper().replace('-', '_')}_KEY": key_of(name) for name in names}
        return {**os.environ, **keys, "PYTHONPATH": str(ROOT)}


@contextmanager
def telling(story: Story, folder: Path) -> Generator[World]:
    """The world of a story, all of it up; `folder` is for the gateway's files."""
    with start_blocking_portal() as portal:
        world = World(story, folder, portal)
        served, _ = portal.start_task(world.neighbours.serve)
        try:
            world.start_gateway()
            yield world
        finally:
            world.stop_gateway()
            portal.call(world.neighbours.leave)
            served.result()
