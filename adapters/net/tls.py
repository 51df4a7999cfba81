"""TLS towards upstreams: one context a process, because loading the trust store costs more than a thousand calls."""

import ssl
from pathlib import Path

from gateway.core.errors import InvalidRequest


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A verifying client context: the system's trust store, or only the certificates in `ca_file`.

    Raises: InvalidRequest: `ca_file` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest("the file of trusted certificates cannot be read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
