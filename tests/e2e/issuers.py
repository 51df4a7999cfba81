"""A real issuer of access tokens: npm's `oidc-provider`, a process of its own; and one that only lies."""

import json
import os
import socket
import subprocess
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any

import httpx2
from joserfc.jwk import ECKey

from tests.e2e.gateways import DOWN_WITHIN_S, UP_WITHIN_S, free_port, until
from tests.node_tools import FOLDER, node


@dataclass
class Issuer:
    """Started as a context; `stop` and `start` again at the same address, with new keys."""

    clients: list[dict[str, Any]]
    opaque: tuple[str, ...] = ()
    """Resources whose tokens are no JWTs."""
    claims: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """More claims, by client or person."""
    scopes: tuple[str, ...] = ("read", "write")
    lifetime: int = 600
    registers: bool = False
    """Whoever asks to be one becomes a client."""
    keys: tuple[str, ...] = ("k1",)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        told = {
            "port": self.port,
            "keys": self.keys,
            "scopes": self.scopes,
            "lifetime": self.lifetime,
            "opaque": self.opaque,
            "registers": self.registers,
            "claims": self.claims,
            "clients": self.clients,
        }
        self.process = subprocess.Popen(
            node(FOLDER / "issuer.mjs"),
            cwd=FOLDER,
            env={**os.environ, "ISSUER": json.dumps(told)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, lambda: "the issuer did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=DOWN_WITHIN_S)
            self.process = None

    def token(self, client: str, resource: str, scope: str = "read") -> str:
        """An access token for a client (its secret is its name's), by client credentials."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        said = httpx2.post(f"{self.url}/token", data=form, auth=(client, secret_of(client)), timeout=UP_WITHIN_S)
        assert said.status_code == 200, said.text
        token: str = said.json()["access_token"]
        return token

    def token_of(self, person: str, client: str, resource: str) -> str:
        """An access token for a person, who logs in at a public client that comes back to this machine."""
        verifier, back = "v" * 43, "http://127.0.0.1/oauth/callback"
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {"client_id": client, "redirect_uri": back, "resource": resource, "scope": "read"}
        asked |= {"response_type": "code", "code_challenge": challenge, "code_challenge_method": "S256"}
        with httpx2.Client(cookies={"person": person}, timeout=UP_WITHIN_S, trust_env=False) as browser:
            answer = browser.get(f"{self.url}/auth", params=asked)
            while not (location := str(answer.url.join(answer.headers["location"]))).startswith(back):
                answer = browser.get(location)
        code = httpx2.URL(location).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        form |= {"client_id": client, "redirect_uri": back, "resource": resource}
        said = httpx2.post(f"{self.url}/token", data=form, timeout=UP_WITHIN_S)
        assert said.status_code == 200, said.text
        token: str = said.json()["access_token"]
        return token

    def revoke(self, client: str, token: str) -> None:
        said = httpx2.post(
            f"{self.url}/token/revocation",
            data={"token": token},
            auth=(client, secret_of(client)),
            timeout=UP_WITHIN_S,
        )
        assert said.status_code == 200, said.text

    def about(self, token: str) -> dict[str, Any]:
        """What a token says, or what is said of it."""
        if token.count(".") == 2:
            part = token.split(".")[1]
            said: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            return said
        asked = httpx2.post(
            f"{self.url}/token/introspection",
            data={"token": token},
            auth=("gateway", secret_of("gateway")),
            timeout=UP_WITHIN_S,
        )
        found: dict[str, Any] = asked.json()
        return found

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the issuer ended"
        try:
            return httpx2.get(f"{self.url}/.well-known/openid-configuration", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def __enter__(self) -> "Issuer":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def secret_of(client: str) -> str:
    return f"{client}-s3cret-3f9c1e7ab2d84506"


def client_named(name: str, **more: Any) -> dict[str, Any]:
    return {"client_id": name, "client_secret": secret_of(name), **more}


def signer_named(name: str, key: ECKey, **more: Any) -> dict[str, Any]:
    """A client that says who it is by this key."""
    public = {**key.as_dict(private=False), "kid": key.thumbprint(), "alg": "ES256", "use": "sig"}
    signs = {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256"}
    return {"client_id": name, "jwks": {"keys": [public]}, **signs, **more}


def person_client(name: str, path: str, **more: Any) -> dict[str, Any]:
    """A client to which people come back on this machine, at any port."""
    grants = {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]}
    back = {"redirect_uris": [f"http://127.0.0.1{path}"], "application_type": "native"}
    return {"client_id": name, "token_endpoint_auth_method": "none", **grants, **back, **more}


@contextmanager
def telling_lies(answer: Callable[[str, str], bytes | None]) -> Generator[str]:
    """The address of an issuer whose raw HTTP answers come from `answer(path, own address)`; None: it never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        open_ones: list[socket.socket] = []
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                open_ones.append(connection)
                with suppress(OSError):  # the gateway hangs up on what is too much, or takes too long to begin
                    if request := connection.recv(65536):
                        said = answer(request.split(b" ")[1].decode(), address)
                        if said is None:
                            continue
                        connection.sendall(said)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield address
    for each in open_ones:
        each.close()


def raw(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def document(said: Mapping[str, Any]) -> bytes:
    return raw(json.dumps(said).encode())
