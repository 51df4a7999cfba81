"""Where the operations of a document are served. No I/O."""

from urllib.parse import urljoin, urlsplit

from adapters.net.address import address_from_url
from adapters.openapi.document import Unresolved
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject, json_list, json_object, json_text


def first_server(said: JsonObject) -> str:
    """The first server something names, with its variables' defaults; empty where there is none."""
    server = json_object(next(iter(json_list(said.get("servers"))), None))
    url = json_text(server.get("url"))
    for name, variable in json_object(server.get("variables")).items():
        url = url.replace(f"{{{name}}}", json_text(json_object(variable).get("default")))
    return url


def service_url(document: JsonObject, configured: str) -> str:
    """Where the service is; empty where nothing says so, or nothing that can be called."""
    url = configured or first_server(document)
    return url if url.startswith(("http://", "https://")) else ""


def own_path(service: str, operation: JsonObject, item: JsonObject) -> str | None:
    """The path an operation with a server of its own is served below; None where it has none.

    Raises: Unresolved: that is another host: callers' words and the service's credentials go to the one configured.
    """
    said: Json = next((each["servers"] for each in (operation, item) if json_list(each.get("servers"))), None)
    url = first_server({"servers": said})
    if not url:
        return None
    try:
        # As a path it is one of the service's own host.
        here, there = address_from_url(service), address_from_url(urljoin(service, url))
    except InvalidRequest as error:
        raise Unresolved("it is served at an address that cannot be used") from error
    if (here.secure, here.host, here.port) != (there.secure, there.host, there.port):
        raise Unresolved("it is served at another host than the service: make that a server of its own, with base_url")
    return urlsplit(urljoin(service, url)).path
