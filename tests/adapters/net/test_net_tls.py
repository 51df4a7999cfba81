"""TLS towards upstreams: verified against the name that was asked for, whatever address was dialled."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.net.address import Address, address_from_url
from adapters.net.egress import EgressGuard
from adapters.net.http1 import Pool
from adapters.net.settings import EgressSettings
from adapters.net.tls import client_context
from gateway.core.errors import InvalidRequest, Unavailable
from tests.fakes_upstreams import raw_server

pytestmark = pytest.mark.anyio


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for `name` and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def server_context(paths: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    return context


async def test_the_name_is_kept_for_tls_while_the_vetted_address_is_dialled(tmp_path: Path) -> None:
    paths = certificate(tmp_path, "orders.test")

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return ("127.0.0.1",)

    guard = EgressGuard(EgressSettings(allow=("127.0.0.1",), ports=()), resolve)
    async with raw_server(lambda exchange: exchange.answer(b"{}"), tls=server_context(paths)) as server:
        address = Address(secure=True, host="orders.test", port=server.port, target="/")
        pool = Pool(address, name="orders", tls=client_context(paths[0]), guard=guard)
        response = await pool.send(b"POST", b"/", b"", b"{}", deadline_s=asyncio.get_running_loop().time() + 60)
        assert await response.read(100) == b"{}"
        await pool.aclose()
        assert server.exchanges[0].headers[b"host"] == f"orders.test:{server.port}".encode()


async def test_a_certificate_for_another_name_is_never_spoken_to(tmp_path: Path) -> None:
    paths = certificate(tmp_path, "other.test")
    async with raw_server(tls=server_context(paths)) as server:
        address = address_from_url(f"https://localhost:{server.port}/")
        pool = Pool(address, name="orders", tls=client_context(paths[0]))
        with pytest.raises(Unavailable):
            await pool.send(b"POST", b"/", b"", b"{}", deadline_s=asyncio.get_running_loop().time() + 60)
        assert server.exchanges == []
        await pool.aclose()


def test_https_without_a_context_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequest):
        Pool(address_from_url("https://a.test/"), name="orders")


def test_a_trust_file_that_cannot_be_read_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        client_context(tmp_path / "missing.pem")
