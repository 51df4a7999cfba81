"""An application on a bound port: nobody is told of an address before it answers."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import uvicorn

from adapters.http.gathering import GatheringProtocol
from adapters.http.server import Server
from adapters.http.settings import ListenSettings
from gateway.core.errors import Conflict

CLOSE_WITHIN_S = 5
"""How long open connections may take to end when the gateway is told to stop, seconds."""
MOST_CONNECTIONS = 10_000


class Listener(uvicorn.Server):
    """Uvicorn without its own signal handlers: the composition has to hear of a stop before the server does."""

    def __init__(self, application: Server) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="none",
                http=GatheringProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=CLOSE_WITHIN_S,
            )
        )
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so once connections are taken."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextmanager
def bound(listen: ListenSettings) -> Generator[socket.socket]:
    """The listening socket. Raises: Conflict: the port is taken; InvalidRequest: the address is not this machine's."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((listen.host, listen.port))
        except OSError as error:
            raise Conflict(
                f"cannot listen on {listen.host}:{listen.port}: {error.strerror}; set gateway.port, or use --port"
            ) from error
        yield listening


def address_of(listen: ListenSettings, listening: socket.socket) -> str:
    """The URL of the socket."""
    port: int = listening.getsockname()[1]
    return f"http://{f'[{listen.host}]' if ':' in listen.host else listen.host}:{port}"
