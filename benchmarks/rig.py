"""What the benchmarks share: pinned processes, the kernel's CPU accounting, a gateway with a configuration.

Everything listens on 127.0.0.1 and stops with the benchmark. Where nginx, wrk or a C compiler is missing, the benchmark
says so and how to get it.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
GATEWAY_CORE, OTHER_CORE = "0", str(1 if (os.cpu_count() or 1) > 1 else 0)
KEY = "demo-benchmark-key-of-no-use-elsewhere"


class Missing(SystemExit):
    """A tool the benchmark needs is not installed."""


def need(tool: str) -> str:
    path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"this benchmark needs {tool}; on Debian: apt-get install nginx-light wrk gcc util-linux")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    *command: str, core: str = OTHER_CORE, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """A process pinned to a core for as long as the block runs."""
    out = log.open("ab") if log is not None else subprocess.DEVNULL
    pinned = [need("taskset"), "-c", core, *command]
    started = subprocess.Popen(pinned, env={**os.environ, **(environment or {})}, stdout=out, stderr=out, cwd=ROOT)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(10)


def wait_for(url: str, within_s: float = 60.0) -> float:
    """Seconds until `url` answers with status 200, or any status where the path is `/`."""
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return time.monotonic() - began
        except urllib.error.HTTPError as error:
            if url.endswith("/") or error.code == 200:
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"{url} did not answer within {within_s} s")


def wait_for_port(port: int, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_s(*pids: int) -> float:
    """CPU seconds that these processes and all their threads have used, from the scheduler's own accounting."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def folder() -> Generator[Path]:
    with TemporaryDirectory(prefix="drawbridge-bench-") as name:
        yield Path(name)


@contextmanager
def raw_upstream(where: Path, tools: int = 10, *, legacy: bool = False) -> Generator[int]:
    """The upstream that costs next to nothing; its port."""
    binary = where / "raw_upstream"
    if not binary.exists():
        subprocess.run([need("cc"), "-O2", "-o", str(binary), str(ROOT / "benchmarks/raw_upstream.c")], check=True)
    port = free_port()
    environment = {"RAW_LEGACY": "1"} if legacy else {}
    with process(str(binary), str(port), str(tools), environment=environment):
        wait_for_port(port)
        yield port


@contextmanager
def nginx(where: Path, upstream: int) -> Generator[tuple[int, int]]:
    """A plain reverse proxy with one worker; its port and the worker's pid."""
    port = free_port()
    config = where / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {where}/nginx.pid; error_log /dev/null;\n"
        "events { worker_connections 2048; }\n"
        f"http {{ access_log off; client_body_temp_path {where}; proxy_temp_path {where};\n"
        "keepalive_requests 100000000;\n"
        f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;\n"
        f'proxy_set_header Connection ""; }} }} }}\n'
    )
    with process(need("nginx"), "-c", str(config), "-p", str(where), core=GATEWAY_CORE) as master:
        wait_for_port(port)
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        yield port, int(children[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    port: int
    pid: int
    ready_s: float
    data: Path


@contextmanager
def gateway(where: Path, configuration: str, *, core: str = GATEWAY_CORE) -> Generator[Running]:
    """A gateway with this configuration, ready; `BENCH_KEY` holds the key."""
    port = free_port()
    config, data = where / "gateway.yaml", where / "data"
    config.write_text(f"{configuration}\ngateway: {{port: {port}}}\n")
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--data", str(data)]
    environment = {"BENCH_KEY": KEY, "PYTHONPATH": str(ROOT)}
    with process(*command, core=core, environment=environment, log=where / "gateway.log") as started:
        try:
            ready_s = wait_for(f"http://127.0.0.1:{port}/readyz")
        except SystemExit:
            sys.stderr.write((where / "gateway.log").read_text()[-3000:])
            raise
        yield Running(port=port, pid=started.pid, ready_s=ready_s, data=data)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}")
    for row in (head, *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
