"""Where the configuration says that rows are kept, its reference resolved. Opens nothing, and loads no database."""

from adapters.storage.settings import StorageSettings, checked_url, is_reference
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Secret, Secrets


def postgres_url(settings: StorageSettings, secrets: Secrets) -> Secret | None:
    """The URL of the PostgreSQL database everything is kept in; None where files in the data directory are.

    Raises: InvalidRequest: a reference leads nowhere, or to something else; neither it nor the database is repeated.
    """
    if not settings.url:
        return None
    if not is_reference(settings.url):
        return Secret(settings.url)
    url = secrets.resolve(settings.url)
    try:
        checked_url(url.reveal())
    except ValueError as error:
        raise InvalidRequest(f"storage.url, {settings.url}: {error}", detail={"path": ["storage", "url"]}) from None
    return url
