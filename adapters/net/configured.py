"""What somebody behind the gateway is shown or started with, secrets and all, as the configuration says it.

Where a secret cannot be had, callers hear that it is set up wrongly; which variable or file that is, operators alone.
"""

from collections.abc import Mapping

import structlog

from gateway.core.errors import GatewayError, InvalidRequest, Unavailable
from gateway.core.ports.world import Secrets

log = structlog.get_logger(__name__)

_REFERENCES = ("env:", "file:", "keyring:")


def revealed(slug: str, values: Mapping[str, str], secrets: Secrets) -> dict[str, str]:
    """Configured values with the secrets they name. Raises: Unavailable: one of them leads nowhere."""
    try:
        return {
            name: secrets.resolve(value).reveal() if value.startswith(_REFERENCES) else value
            for name, value in values.items()
        }
    except InvalidRequest as error:
        raise misconfigured(slug, error) from error


def misconfigured(slug: str, error: GatewayError) -> Unavailable:
    """What callers are told in place of an error, which operators find in the log and in the upstream's state."""
    log.warning("an upstream is set up wrongly", upstream=slug, reason=error.message)
    return Unavailable(
        f"{slug} is set up wrongly at the gateway; its operators are told how",
        detail={"sent": False},
        for_operators=f"{slug}: {error.message}",
    )
