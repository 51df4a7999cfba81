"""Delegation tokens: what is made, and that nothing else is accepted."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from adapters.identity.delegation import Delegation, DelegationTokens
from gateway.core.errors import Unauthenticated
from gateway.core.model import principal
from gateway.core.ports.storage import OpenStep
from tests.fakes import FakeClock

KEY = bytes(range(32))
NOW_S = 1_700_000_000
STEP = OpenStep(
    run_id="run_1",
    step_id="run_1/2",
    agent="refunds",
    actor=principal("agent:refunds", kind="agent", tenant="acme"),
    phase="",
    deadline_at_us=(NOW_S + 60) * 1_000_000,
)
CLAIMS: dict[str, str | int] = {
    "iss": "drawbridge",
    "jti": "j",
    "run": "run_1",
    "step": "run_1/2",
    "agent": "refunds",
    "tenant": "acme",
    "exp": NOW_S + 60,
}


def tokens(clock: FakeClock | None = None) -> DelegationTokens:
    return DelegationTokens(KEY, clock=clock or FakeClock(now_us=NOW_S * 1_000_000))


TOKEN = tokens().mint(STEP).encode()


def segment(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def test_the_token_holds_ids_and_an_end_and_nothing_else() -> None:
    header, payload, _ = (base64.urlsafe_b64decode(part + b"==") for part in (*TOKEN.split(b".")[:2], b""))
    claims = json.loads(payload)

    assert json.loads(header) == {"alg": "HS256", "typ": "delegation+jwt"}
    assert claims == {**CLAIMS, "jti": claims["jti"]}
    assert len(claims["jti"]) >= 16


def test_a_token_says_what_its_step_was() -> None:
    assert tokens().verify(TOKEN) == Delegation(
        run_id="run_1", step_id="run_1/2", agent="refunds", tenant="acme", expires_at_us=STEP.deadline_at_us
    )


names = st.text(min_size=1, max_size=40)


@given(run=names, step=names, agent=names, tenant=names)
def test_every_step_makes_the_round_trip(run: str, step: str, agent: str, tenant: str) -> None:
    opened = replace(STEP, run_id=run, step_id=step, agent=agent, actor=principal("a", kind="agent", tenant=tenant))

    said = tokens().verify(tokens().mint(opened).encode())

    assert (said.run_id, said.step_id, said.agent, said.tenant) == (run, step, agent, tenant)


def test_no_two_tokens_of_a_step_are_alike() -> None:
    assert tokens().mint(STEP) != tokens().mint(STEP)


def test_a_token_ends_with_its_step() -> None:
    clock = FakeClock(now_us=NOW_S * 1_000_000)
    made = tokens(clock)
    clock.advance(59.9)
    made.verify(TOKEN)
    clock.advance(0.1)

    with pytest.raises(Unauthenticated):
        made.verify(TOKEN)


@pytest.mark.parametrize("deadline_at_us", [0, (NOW_S + 10**9) * 1_000_000])
def test_no_token_lives_longer_than_a_day(deadline_at_us: int) -> None:
    token = tokens().mint(replace(STEP, deadline_at_us=deadline_at_us)).encode()

    assert tokens().verify(token).expires_at_us == (NOW_S + 86_400) * 1_000_000


@given(place=st.integers(0, len(TOKEN) - 1), character=st.sampled_from(list(range(256))))
def test_changing_any_character_ends_it(place: int, character: int) -> None:
    if TOKEN[place] == character:
        return
    tampered = TOKEN[:place] + bytes([character]) + TOKEN[place + 1 :]

    with pytest.raises(Unauthenticated):
        tokens().verify(tampered)


def test_changing_the_last_character_to_any_other_ends_it() -> None:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for character in alphabet:
        if character != TOKEN[-1]:
            with pytest.raises(Unauthenticated):
                tokens().verify(TOKEN[:-1] + bytes([character]))


@given(place=st.integers(0, len(TOKEN)), addition=st.binary(min_size=1, max_size=3))
def test_adding_anything_anywhere_ends_it(place: int, addition: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens().verify(TOKEN[:place] + addition + TOKEN[place:])


@given(end=st.integers(0, len(TOKEN) - 1))
def test_cutting_it_short_ends_it(end: int) -> None:
    with pytest.raises(Unauthenticated):
        tokens().verify(TOKEN[:end])


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens().verify(noise)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["alg", "typ", "crit", "b64", "kid"]), inner)
    ),
    max_leaves=6,
)


@given(header=json_values, payload=json_values)
def test_any_json_as_header_and_payload_is_refused(header: object, payload: object) -> None:
    with pytest.raises(Unauthenticated):
        tokens().verify(segment(header) + b"." + segment(payload) + b"." + TOKEN.rpartition(b".")[2])


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256"},
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "HS256", "typ": "at+jwt"},
        {"alg": "HS256", "typ": "delegation+jwt", "kid": "1"},
        {"alg": "HS384", "typ": "delegation+jwt"},
        {"alg": "HS512", "typ": "delegation+jwt"},
    ],
)
def test_another_algorithm_or_type_is_refused_though_the_key_is_right(header: dict[str, str]) -> None:
    key = OctKey.import_key(KEY)
    forged = jwt.encode(header, CLAIMS, key, algorithms=["HS256", "HS384", "HS512"], default_type=None)

    with pytest.raises(Unauthenticated):
        tokens().verify(forged.encode())


def test_a_token_without_signature_is_refused() -> None:
    header = segment({"alg": "none", "typ": "delegation+jwt"})

    with pytest.raises(Unauthenticated):
        tokens().verify(header + b"." + segment(CLAIMS) + b".")


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody"},
        {"extra": "x"},
        {"exp": "soon"},
        {"exp": True},
        {"exp": NOW_S + 60.5},
        {"run": 1},
        {"agent": ["refunds"]},
        {"tenant": None},
    ],
)
def test_claims_of_another_shape_are_refused_though_the_key_is_right(change: dict[str, object]) -> None:
    header = {"alg": "HS256", "typ": "delegation+jwt"}
    forged = jwt.encode(header, {**CLAIMS, **change}, OctKey.import_key(KEY), algorithms=["HS256"])

    with pytest.raises(Unauthenticated):
        tokens().verify(forged.encode())


@pytest.mark.parametrize("missing", sorted(CLAIMS))
def test_a_missing_claim_is_refused(missing: str) -> None:
    header = {"alg": "HS256", "typ": "delegation+jwt"}
    fewer = {name: value for name, value in CLAIMS.items() if name != missing}
    forged = jwt.encode(header, fewer, OctKey.import_key(KEY), algorithms=["HS256"])

    with pytest.raises(Unauthenticated):
        tokens().verify(forged.encode())


def test_a_token_made_with_another_key_is_refused() -> None:
    foreign = DelegationTokens(bytes(32), clock=FakeClock(now_us=NOW_S * 1_000_000)).mint(STEP)

    with pytest.raises(Unauthenticated):
        tokens().verify(foreign.encode())
