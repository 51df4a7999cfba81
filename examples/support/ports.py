"""Ports for servers that are started a little later, by somebody else."""

import socket
import sys


def free_port() -> int:
    """A port of 127.0.0.1 to listen on, which nobody else is given for as long as this process lives.

    Where it can be, it stays bound without listening: Linux lets whoever names the port listen on it, and neither gives
    it to anybody who asks for any port nor has a connection begin there, also while its server is down. Elsewhere it is
    only free by now.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        if sys.platform == "linux":
            bound.detach()
        return port
