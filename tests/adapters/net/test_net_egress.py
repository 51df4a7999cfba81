"""The egress guard: what a user's address may not lead to, by whichever spelling."""

import pytest
from pydantic import ValidationError

from adapters.net.address import Address, address_from_url
from adapters.net.egress import EgressGuard
from adapters.net.fetch import fetch
from adapters.net.http1 import Pool
from adapters.net.settings import EgressSettings
from gateway.core.errors import Denied, InvalidRequest, Unavailable, UpstreamFailed
from tests.fakes_upstreams import raw_server

pytestmark = pytest.mark.anyio

PRIVATE = [
    "0.0.0.0",
    "10.0.0.5",
    "100.100.100.200",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.3.4",
    "192.0.0.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2001:0:1::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]
TRICKS = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://[::ffff:7f00:1]/",
    "http://0/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://192.168.1.1:8080/",
    "http://[fe80::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://93.184.216.34:22/",
    "http://user@127.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://localhost。/",
    "http:\\\\127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://[fe80::1%25eth0]/",
    "http:///path",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "127.0.0.1",
    "",
]


def guard(*answers: str, **settings: object) -> EgressGuard:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return answers

    return EgressGuard(EgressSettings.model_validate(settings), resolve)


@pytest.mark.parametrize("address", PRIVATE)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Denied) as refusal:
        await guard(address).vet("host.test", 443)
    assert refusal.value.detail == {"policy": "egress", "rule": "address"}
    assert address not in refusal.value.message


async def test_public_addresses_pass_as_they_are() -> None:
    found = ("93.184.216.34", "2606:2800:220:1::1")
    assert await guard(*found).vet("host.test", 443) == found


async def test_one_private_answer_among_public_ones_refuses_the_host() -> None:
    with pytest.raises(Denied):
        await guard("93.184.216.34", "10.0.0.1").vet("host.test", 443)


async def test_a_port_that_is_not_listed_is_refused_unless_every_port_is_open() -> None:
    with pytest.raises(Denied) as refusal:
        await guard("93.184.216.34").vet("host.test", 22)
    assert refusal.value.detail["rule"] == "port"
    assert await guard("93.184.216.34", ports=()).vet("host.test", 22)


async def test_what_the_configuration_allows_passes_and_nothing_beside_it() -> None:
    allowing = {"allow": ["10.1.0.0/16", "::1", "inside.test"]}
    assert await guard("10.1.2.3", **allowing).vet("a.test", 443)
    assert await guard("::1", **allowing).vet("a.test", 443)
    assert await guard("10.9.9.9", **allowing).vet("INSIDE.test.", 443)
    with pytest.raises(Denied):
        await guard("10.2.0.1", **allowing).vet("a.test", 443)
    with pytest.raises(Denied):
        await guard("10.9.9.9", **allowing).vet("x.inside.test", 443)


async def test_a_name_that_leads_nowhere_is_unavailable() -> None:
    async def nowhere(host: str, port: int) -> tuple[str, ...]:
        raise OSError("no such name")

    for each in (guard(), EgressGuard(EgressSettings(), nowhere)):
        with pytest.raises(Unavailable):
            await each.vet("host.test", 443)


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "a b", "", "-x.test", "1.2.3", "*.test", "999.1.1.1"])
def test_an_entry_that_is_neither_network_nor_host_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError):
        EgressSettings(allow=(entry,))


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(ValidationError):
        EgressSettings(ports=(0,))


@pytest.mark.parametrize("url", TRICKS)
async def test_no_spelling_of_a_private_address_is_fetched(url: str) -> None:
    with pytest.raises((Denied, InvalidRequest, Unavailable)):
        await fetch(url, guard=EgressGuard(EgressSettings()), tls=None, timeout_s=2)


async def test_a_second_dns_answer_is_vetted_like_the_first() -> None:
    answers = iter([("127.0.0.1",), ("10.0.0.1",)])

    async def rebinding(host: str, port: int) -> tuple[str, ...]:
        return next(answers)

    async with raw_server(lambda exchange: exchange.answer(b"{}", more="connection: close\r\n")) as server:
        watching = EgressGuard(EgressSettings(allow=("127.0.0.1",), ports=()), rebinding)
        address = Address(secure=False, host="rebind.test", port=server.port, target="/")
        pool = Pool(address, name="the host", guard=watching)
        assert (await pool.send(b"GET", b"/", b"", b"", deadline_s=1e12)).status == 200
        with pytest.raises(Denied):
            await pool.send(b"GET", b"/", b"", b"", deadline_s=1e12)
        assert server.exchanges[0].headers[b"host"] == f"rebind.test:{server.port}".encode()
        await pool.aclose()


async def test_the_next_vetted_address_is_tried_when_one_does_not_answer() -> None:
    async with raw_server(lambda exchange: exchange.answer(b"{}")) as server:
        both = guard("127.0.0.2", "127.0.0.1", allow=["127.0.0.0/8"], ports=())
        pool = Pool(Address(secure=False, host="two.test", port=server.port, target="/"), name="the host", guard=both)
        assert (await pool.send(b"GET", b"/", b"", b"", deadline_s=1e12)).status == 200
        await pool.aclose()


async def test_fetch_gives_a_small_document() -> None:
    async with raw_server(
        lambda exchange: exchange.answer(
            b'{"a":1}', content_type="Application/JSON; charset=utf-8", more='etag: "1"\r\n'
        )
    ) as server:
        fetched = await fetch(f"{server.url}?v=1", guard=None, tls=None)
        assert (fetched.body, fetched.content_type, fetched.etag) == (b'{"a":1}', "application/json", '"1"')
        assert (server.exchanges[0].method, server.exchanges[0].target) == (b"GET", b"/mcp?v=1")
        await server.exchanges[0].gone.wait()


@pytest.mark.parametrize("status", [301, 307, 404, 500, 204])
async def test_fetch_follows_nothing_and_takes_only_200(status: int) -> None:
    async with raw_server(
        lambda exchange: exchange.answer(b"", status=status, more="location: http://127.0.0.1/\r\n")
    ) as server:
        with pytest.raises(UpstreamFailed):
            await fetch(server.url, guard=None, tls=None)
        assert len(server.exchanges) == 1


async def test_fetch_stops_at_its_limit() -> None:
    async with raw_server(lambda exchange: exchange.answer(b"x" * 2000)) as server:
        with pytest.raises(UpstreamFailed):
            await fetch(server.url, guard=None, tls=None, limit_bytes=1000)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a.test", Address(secure=False, host="a.test", port=80, target="/")),
        ("HTTPS://A.test:8443/x/y?z=1#f", Address(secure=True, host="a.test", port=8443, target="/x/y?z=1")),
        ("http://[::1]:9000/", Address(secure=False, host="::1", port=9000, target="/")),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    assert address_from_url(url) == address


def test_the_authority_names_the_port_only_where_it_is_unusual() -> None:
    assert address_from_url("https://a.test/").authority == "a.test"
    assert address_from_url("https://a.test:80/").authority == "a.test:80"
    assert address_from_url("http://[::1]:9000/").authority == "[::1]:9000"
