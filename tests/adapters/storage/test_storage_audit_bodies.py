import hmac
from typing import Any

import msgspec
import pytest

from adapters.mcp.wire import Answer, Params
from adapters.storage.audit.bodies import Digests, Kept, bytes_of, kept_of
from adapters.storage.audit.masking import MASK, Masker
from gateway.core.content import Content, Part, Plain, data_part, plain, text_part
from gateway.core.errors import InvalidRequest

KEY = bytes(range(32))
MASKER = Masker()


class Broken:
    size_bytes = 3

    def content(self) -> Content:
        raise InvalidRequest("not valid JSON")


def kept(body: Any, most_bytes: int = 10_000) -> Any:
    found = kept_of(body, "d", MASKER, most_bytes)
    assert found is not None
    return msgspec.json.decode(found.body)


@pytest.mark.parametrize("key", [KEY, b"k" * 64, b"long" * 40])
def test_a_digest_is_the_hmac_of_tenant_and_bytes(key: bytes) -> None:
    digests = Digests(key)
    for tenant in ("default", "", "acme", "default"):
        assert digests.of(tenant, b"yes") == hmac.new(key, tenant.encode() + b"\0yes", "sha256").hexdigest()


def test_more_tenants_than_are_remembered_get_the_same_digests() -> None:
    digests = Digests(KEY)
    first = digests.of("t0", b"x")
    for number in range(3000):
        digests.of(f"t{number}", b"x")
    assert digests.of("t0", b"x") == first


def test_a_body_that_came_by_wire_is_known_by_its_own_bytes() -> None:
    raw = b'{ "content": [] }'
    assert bytes_of(Answer(raw, era="modern")) is raw
    members = {"name": msgspec.Raw(b'"refund"'), "arguments": msgspec.Raw(b'{ "a": 1 }')}
    assert bytes_of(Params(members, era="modern")) == b'{"name":"refund","arguments":{ "a": 1 }}'


def test_a_body_of_the_gateways_own_is_known_by_what_it_says() -> None:
    assert bytes_of(plain({"a": 1})) == bytes_of(plain({"a": 1})) != bytes_of(plain({"a": 2}))
    assert bytes_of(plain("a")) != bytes_of(plain("b"))


def test_a_kept_body_is_masked_json() -> None:
    body = Plain(
        Content(
            parts=(
                text_part("token=abc123"),
                data_part({"password": "x"}),
                Part(kind="raw", raw="QUJDRA==", name="pic"),
            ),
            structured={"secret": "s", "order": "A-1"},
            metadata={"authorization": "Bearer x"},
        )
    )
    assert kept(body) == {
        "structured": {"secret": MASK, "order": "A-1"},
        "parts": [
            {"text": f"token={MASK}", "media_type": "text/plain"},
            {"data": {"password": MASK}, "media_type": "application/json"},
            {"raw_bytes": 6, "name": "pic"},
        ],
        "metadata": {"authorization": MASK},
    }


def test_what_a_data_part_repeats_is_kept_once() -> None:
    assert kept(plain({"a": 1})) == {"structured": {"a": 1}}


def test_a_large_body_is_cut_and_says_so() -> None:
    said = kept(plain("\u00e4" * 5000), most_bytes=1000)
    assert set(said) == {"cut", "bytes"}
    assert said["bytes"] > 1000
    assert said["cut"].startswith('{"parts"')
    assert len(msgspec.json.encode(said)) <= 1000


def test_no_half_of_a_secret_survives_a_cut() -> None:
    secret = "ghp_" + "s3cret" * 20
    for padding in range(900, 1100, 7):
        assert "s3cret" not in str(kept(plain("x" * padding + " " + secret + " " + "y" * 2000), most_bytes=2048))


def test_of_a_body_that_says_nothing_valid_nothing_is_kept() -> None:
    assert kept_of(Broken(), "d", MASKER, 1000) is None


def test_the_digest_goes_with_what_is_kept() -> None:
    assert kept_of(plain("a"), "d", MASKER, 1000) == Kept(
        "d", b'{"parts":[{"text":"a"}]}'.replace(b'"}', b'","media_type":"text/plain"}')
    )
