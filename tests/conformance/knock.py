"""What the suite starts as its client: tells a test where the scenario's server is, and waits until that was visited.

Starting a client for each scenario takes longer than the scenarios do: the client is in the test that waits for this.
"""

import json
import os
import socket
import sys

PREFIX = "MCP_CONFORMANCE_"


def main() -> int:
    """The exit code the suite sees: 0 unless the client failed."""
    port, url = sys.argv[1:]
    said = {name.removeprefix(PREFIX).lower(): os.environ[name] for name in os.environ if name.startswith(PREFIX)}
    with socket.create_connection(("127.0.0.1", int(port))) as link:
        link.sendall(json.dumps({**said, "url": url}).encode() + b"\n")
        return 0 if link.recv(1) == b"y" else 1


if __name__ == "__main__":
    sys.exit(main())
