"""How the gateway gets the access token that somebody behind it asks for: `servers.*.auth`. Asks nobody."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator, model_validator

_REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|keyring:[^/]+/.+)")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if url and (not parts.hostname or "@" in parts.netloc or parts.scheme not in ("https", "http")):
        raise ValueError("write an https:// address")
    if url and parts.scheme == "http" and not local:
        raise ValueError("a secret is sent there: write https:// (http:// for this machine only)")
    return url


SecretsGoThere = Annotated[str, AfterValidator(_checked)]
"""An address to which secrets are sent, or from which keys come; empty where there is none."""


class ClientSettings(BaseModel):
    """The gateway as a client of an authorization server."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    client_id: str
    """The gateway's name there."""
    client_secret: str = ""
    """Reference to its secret there."""
    client_auth: Literal["basic", "post"] = "basic"
    """How the secret is sent: as HTTP Basic, or in the form."""
    client_key: str = ""
    """Reference to a private key (PEM or JWK) by which it says who it is, in place of a secret (`private_key_jwt`)."""

    @field_validator("client_secret", "client_key")
    @classmethod
    def _is_a_reference(cls, value: str) -> str:
        if value and not _REFERENCE.fullmatch(value):
            raise ValueError("a secret must not stand in the configuration; write env:NAME, file:PATH or keyring:…")
        return value

    @model_validator(mode="after")
    def _says_it_one_way(self) -> "ClientSettings":
        if self.client_secret and self.client_key:
            raise ValueError("a client has a client_secret or a client_key, not both")
        if self.client_key and not self.client_id:
            raise ValueError("a client_key needs the client_id it belongs to")
        return self

    @property
    def references(self) -> dict[str, str]:
        """What it refers to, by the names of the settings."""
        said = {"client_secret": self.client_secret, "client_key": self.client_key}
        return {name: reference for name, reference in said.items() if reference}


class AuthSettings(ClientSettings):
    """How the gateway gets access tokens for somebody behind it."""

    client_id: str = ""
    """The gateway's name there; an https address is that of a document that says who it is (CIMD). Of `user` by default
    the gateway's own such document where issuers look it up, else the gateway registers itself."""
    kind: Literal["client_credentials", "token_exchange", "user"]
    """`client_credentials`: one token, whoever calls; `token_exchange`: the caller's access token is exchanged (RFC
    8693), so that the server knows whom it serves; `user`: each person connects an account of their own."""
    issuer: SecretsGoThere = ""
    """Identifier of the authorization server; its metadata say the rest. By default the server's metadata name it;
    where `client_id` is given and people come back from it, it has to say then who it is (RFC 9207)."""
    token_url: SecretsGoThere = ""
    """Where it gives tokens; by default what its metadata say."""
    scopes: tuple[str, ...] = ()
    """What the token is to be good for, and no more; by default what the server asks for."""
    resource: str | None = None
    """Whom the token is for (RFC 8707); by default what the server's metadata say, or its URL; empty where that
    parameter is not understood."""
    audience: str = ""
    """The same by another name, for servers that want that (RFC 8693)."""
    list_as: str = ""
    """Of `user`: subject by whose account lists are read; by default they are read without a token."""

    @property
    def personal(self) -> bool:
        """Whether what is called so knows whom it answers: then no answer is another caller's."""
        return self.kind != "client_credentials"

    @model_validator(mode="after")
    def _says_who_it_is(self) -> "AuthSettings":
        if self.kind != "user" and not (self.client_id and self.references):
            raise ValueError(f"{self.kind} needs a client_id and, by reference, a client_secret or client_key")
        if self.kind == "token_exchange" and not self.issuer:
            raise ValueError("token_exchange needs the issuer that callers' tokens are shown to")
        if self.token_url and not self.issuer:
            raise ValueError("token_url needs the issuer whose it is")
        if self.kind != "user" and self.list_as:
            raise ValueError("list_as is for kind: user")
        return self
