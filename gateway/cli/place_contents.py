"""What stands at a place: its configuration's sections, where its gateway would answer, whose keys it keeps.

Knows nothing of policies and runs: clients start the stdio relay, which needs no more than this, and wait for it.
"""

from pathlib import Path

from gateway.app.sections import Sections, load_configuration
from gateway.cli.failure import USAGE, Failure
from gateway.cli.options import Place


def sections_of(at: Place) -> Sections:
    """The configuration's sections, where agents added at run time may be named too. Raises: ConfigurationError."""
    return Sections(load_configuration(at.config, at.data))


def listen_url(at: Place) -> str:
    """Where a gateway with this configuration would answer on this machine."""
    listen = sections_of(at).listen
    host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{listen.port}"


def client_key_file(place: Place, client: str) -> Path:
    """Where the stdio relay of this client finds its key."""
    if not client.replace("-", "").replace("_", "").isalnum():
        raise Failure(f"{client!r} is no client name", "Use letters, digits, - and _.", code=USAGE)
    return place.data.keys / f"client-{client}.key"
