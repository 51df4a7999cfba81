"""Who the gateway is at an authorization server, as the configuration says it."""

import ssl
from typing import Protocol

from adapters.net.auth_settings import ClientSettings
from adapters.net.client_auth import Client, ClientKey
from gateway.core.errors import InvalidRequest
from gateway.core.ports.world import Clock, Secret, Secrets


class ClientGround(Protocol):
    """What being a client stands on; a `Foundation` is one."""

    @property
    def clock(self) -> Clock: ...

    @property
    def secrets(self) -> Secrets: ...

    @property
    def tls(self) -> ssl.SSLContext: ...


def client_from(path: str, settings: ClientSettings, ground: ClientGround) -> Client:
    """The client the settings at a path make.

    Raises: InvalidRequest: a reference leads nowhere, or to no key.
    """
    found = {key: secret_at(f"{path}.{key}", text, ground.secrets) for key, text in settings.references.items()}
    key = None
    if "client_key" in found:
        try:
            key = ClientKey(found["client_key"], ground.clock)
        except InvalidRequest as error:
            raise _wrong(f"{path}.client_key", error) from error
    return Client(
        id=settings.client_id,
        secret=found.get("client_secret"),
        in_form=settings.client_auth == "post",
        key=key,
    )


def secret_at(path: str, reference: str, secrets: Secrets) -> Secret:
    """What a reference at a path leads to. Raises: InvalidRequest: nowhere."""
    try:
        return secrets.resolve(reference)
    except InvalidRequest as error:
        raise _wrong(path, error) from error


def _wrong(path: str, error: InvalidRequest) -> InvalidRequest:
    return InvalidRequest(f"{path}: {error.message}", detail={"path": path})
