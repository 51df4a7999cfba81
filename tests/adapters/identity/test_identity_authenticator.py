"""Who is recognised, who is not, and how soon a change counts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.identity.apikeys import KeyGrant, KeyMint, MintedKey
from adapters.identity.authenticator import Authenticator
from adapters.identity.credentials import Credential
from adapters.identity.delegation import DelegationTokens
from gateway.core.errors import InvalidRequest, Unauthenticated, Unavailable
from gateway.core.labels import Labels
from gateway.core.model import Principal, principal
from gateway.core.ports.gateway import Identity
from gateway.core.ports.storage import OpenStep
from gateway.core.ports.world import Secret
from gateway.testing.stores.around_runs import MemoryOpenSteps
from tests.fakes import FakeClock

ANA_KEY = "ana-3f9c1e7ab2d84506"
ANA = principal("ana", roles=frozenset({"support", "billing"}))
REFUNDS_KEY = "refunds-9b1c77e0aa4f"
REFUNDS = principal("agent:refunds", kind="agent", roles=frozenset({"refunder"}))
TRIAGE_KEY = "triage-55d0c1e9ab72"
TRIAGE = principal("agent:triage", kind="agent")
CREDENTIALS = (
    Credential(principal=ANA, key=Secret(ANA_KEY)),
    Credential(principal=REFUNDS, key=Secret(REFUNDS_KEY)),
    Credential(principal=TRIAGE, key=Secret(TRIAGE_KEY), delegation_only=True),
    Credential(principal=principal("bob", roles=frozenset({"support"}))),
)
WORKFLOW = principal("workflow:help", kind="workflow", behind=ANA)
WEB = Labels(untrusted=frozenset({"server:web"}))
SECRET = Labels(confidential=frozenset({"secret"}))


class House:
    """An authenticator with everything it looks at."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.steps = MemoryOpenSteps()
        self.mint = KeyMint(bytes(range(32)))
        self.tokens = DelegationTokens(bytes(range(32)), clock=self.clock)
        self.door = Authenticator(mint=self.mint, tokens=self.tokens, steps=self.steps, clock=self.clock)
        self.door.reload(CREDENTIALS)

    def minted(self, grant: KeyGrant) -> MintedKey:
        minted = self.mint.mint(grant, self.clock.now_us())
        self.door.add(minted.stored)
        return minted

    def step(self, agent: Principal = REFUNDS) -> OpenStep:
        return OpenStep(
            run_id="run_1",
            step_id="run_1/2",
            agent=agent.subject.removeprefix("agent:"),
            actor=principal(agent.subject, kind="agent", roles=agent.roles, behind=WORKFLOW),
            phase="propose",
            labels=WEB,
            deadline_at_us=self.clock.now_us() + 60_000_000,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )


@pytest.fixture
def house() -> House:
    return House()


def bearer(key: str | MintedKey) -> bytes:
    return b"Bearer " + (key if isinstance(key, str) else key.key.reveal()).encode()


def refused(house: House, authorization: bytes) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        house.door.identify(authorization)
    return refusal.value.message


def test_a_configured_key_is_its_principal(house: House) -> None:
    assert house.door.identify(bearer(ANA_KEY)) == Identity(principal=ANA)


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_may_be_written_in_any_case(house: House, scheme: bytes) -> None:
    assert house.door.identify(scheme + b" " + ANA_KEY.encode()).principal is ANA


def test_every_refusal_says_the_same_and_repeats_nothing(house: House) -> None:
    stranger = KeyMint(bytes(32)).mint(KeyGrant(subject="eve"), 1).key.reveal()
    known = house.minted(KeyGrant(subject="carl"))
    revoked = house.minted(KeyGrant(subject="carl"))
    house.door.revoke(revoked.stored.id)
    closed = house.tokens.mint(house.step())
    sent = [
        b"",
        b"Bearer",
        b"Bearer ",
        ANA_KEY.encode(),
        b"Basic " + ANA_KEY.encode(),
        b"Bearer  " + ANA_KEY.encode(),
        b"Bearer " + ANA_KEY.encode() + b" ",
        bearer(ANA_KEY[:-1]),
        bearer(ANA_KEY.upper()),
        bearer(stranger),
        bearer(f"dbk_{known.stored.id}_{stranger[-43:]}"),
        bearer(revoked),
        bearer(closed),
        bearer(closed[:-1]),
        bearer(TRIAGE_KEY),
        bearer("x" * 5000),
        b"Bearer \xff\x00\xfe",
    ]

    (said,) = {refused(house, authorization) for authorization in sent}

    assert not any(part in said for part in (ANA_KEY, stranger, known.stored.id))


@given(st.binary(max_size=120))
def test_noise_is_refused(noise: bytes) -> None:
    house = House()

    refused(house, noise)
    refused(house, b"Bearer " + noise)


def test_a_refused_header_is_refused_again_and_not_remembered(house: House) -> None:
    for number in range(50):
        refused(house, bearer(f"unknown-{number}"))
        refused(house, bearer(f"unknown-{number}"))

    assert house.door.identify(bearer(ANA_KEY)).principal is ANA


def test_many_valid_credentials_are_all_recognised_however_many_came_before(house: House) -> None:
    keys = [house.mint.mint(KeyGrant(subject=f"user-{number}"), 1) for number in range(5000)]
    house.door.load([key.stored for key in keys])

    for _ in range(2):
        for number in (0, 1, 2500, 4999):
            assert house.door.identify(bearer(keys[number])).principal.subject == f"user-{number}"
    for number, key in enumerate(keys):
        assert house.door.identify(bearer(key)).principal.subject == f"user-{number}"


def test_a_minted_key_has_what_it_was_granted(house: House) -> None:
    grant = KeyGrant(subject="carl", kind="operator", tenant="acme", roles=frozenset({"x"}))
    minted = house.minted(grant)

    expected = principal("carl", kind="operator", tenant="acme", roles=frozenset({"x"}))
    assert house.door.identify(bearer(minted)) == Identity(principal=expected)


def test_a_key_minted_for_a_configured_principal_has_the_roles_it_has_there_now(house: House) -> None:
    key = bearer(house.minted(KeyGrant(subject="ana")))
    assert house.door.identify(key).principal == ANA

    fewer = principal("ana", roles=frozenset({"support"}))
    house.door.reload([Credential(principal=fewer)])

    assert house.door.identify(key).principal == fewer
    house.door.reload([])
    assert house.door.identify(key).principal.roles == frozenset()


def test_a_key_of_a_configured_principal_can_be_for_less_and_never_for_more(house: House) -> None:
    narrow = house.minted(KeyGrant(subject="ana", kind="operator", roles=frozenset({"support", "admin"})))
    elsewhere = house.minted(KeyGrant(subject="ana", tenant="acme", roles=frozenset({"admin"})))

    assert house.door.identify(bearer(narrow)).principal == principal("ana", roles=frozenset({"support"}))
    assert house.door.identify(bearer(elsewhere)).principal.roles == {"admin"}


def test_a_key_is_refused_from_the_moment_it_expires(house: House) -> None:
    ends = house.clock.now_us() + 10_000_000
    keys = [
        bearer(house.minted(KeyGrant(subject=subject, expires_at_us=ends))) for subject in ("ana", "agent:refunds", "x")
    ]
    for key in keys:
        house.door.identify(key)
    house.clock.advance(9.9)
    for key in keys:
        house.door.identify(key)

    house.clock.advance(0.1)

    for key in keys:
        refused(house, key)
        refused(house, key)


def test_a_key_is_refused_from_the_moment_it_is_revoked(house: House) -> None:
    minted = house.minted(KeyGrant(subject="carl"))
    other = house.minted(KeyGrant(subject="dora"))
    house.door.identify(bearer(minted))

    house.door.revoke(minted.stored.id)

    refused(house, bearer(minted))
    assert house.door.identify(bearer(other)).principal.subject == "dora"


def test_keys_revoked_before_the_start_are_not_loaded(house: House) -> None:
    minted = house.mint.mint(KeyGrant(subject="carl"), 1)

    house.door.load([replace(minted.stored, revoked_at_us=5)])

    refused(house, bearer(minted))


def test_a_new_configuration_counts_at_once(house: House) -> None:
    house.door.identify(bearer(ANA_KEY))
    new = "another-77e0aa4f9b1c"

    house.door.reload([Credential(principal=ANA, key=Secret(new))])

    refused(house, bearer(ANA_KEY))
    assert house.door.identify(bearer(new)).principal is ANA


@pytest.mark.parametrize(
    "wrong",
    [
        [Credential(principal=ANA, key=Secret("short"))],
        [Credential(principal=ANA, key=Secret(ANA_KEY)), Credential(principal=REFUNDS, key=Secret(ANA_KEY))],
        [Credential(principal=ANA), Credential(principal=ANA)],
    ],
)
def test_a_wrong_configuration_changes_nothing_and_repeats_no_key(house: House, wrong: list[Credential]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        house.door.reload(wrong)

    assert ANA_KEY not in refusal.value.message
    assert "short" not in refusal.value.message.replace("shorter", "")
    assert house.door.identify(bearer(ANA_KEY)).principal is ANA


def test_demo_keys_work_and_are_noticed(house: House) -> None:
    assert not house.door.uses_demo_keys

    house.door.reload([Credential(principal=ANA, key=Secret("demo-ana"))])

    assert house.door.uses_demo_keys
    assert house.door.identify(bearer("demo-ana")).principal is ANA
    house.door.reload(CREDENTIALS)
    assert not house.door.uses_demo_keys


@pytest.mark.anyio
async def test_a_token_is_its_step(house: House) -> None:
    step = house.step()
    await house.steps.open(step)

    identity = house.door.identify(bearer(house.tokens.mint(step)))

    assert identity == Identity(
        principal=step.actor,
        run_id="run_1",
        step_id="run_1/2",
        phase="propose",
        labels=WEB,
        deadline_at_us=step.deadline_at_us,
        traceparent=step.traceparent,
    )
    assert identity.principal.chain == ("ana", "workflow:help", "agent:refunds")


@pytest.mark.anyio
async def test_a_token_ends_when_its_step_closes_and_works_again_when_it_is_opened_again(house: House) -> None:
    step = house.step()
    token = bearer(house.tokens.mint(step))
    refused(house, token)
    await house.steps.open(step)
    house.door.identify(token)

    await house.steps.close("run_1", "run_1/2")
    refused(house, token)

    await house.steps.open(step)
    assert house.door.identify(token).step_id == "run_1/2"


@pytest.mark.anyio
async def test_what_changes_in_the_step_changes_in_the_identity(house: House) -> None:
    step = house.step()
    token = bearer(house.tokens.mint(step))
    await house.steps.open(step)
    house.door.identify(token)

    await house.steps.open(replace(step, phase="commit", labels=SECRET))

    identity = house.door.identify(token)
    assert (identity.phase, identity.labels) == ("commit", SECRET)


@pytest.mark.anyio
async def test_a_token_is_refused_from_the_moment_its_step_is_over(house: House) -> None:
    step = replace(house.step(), deadline_at_us=house.clock.now_us() + 1_500_000)
    token = bearer(house.tokens.mint(step))
    await house.steps.open(step)
    house.door.identify(token)
    house.clock.advance(1.4)
    house.door.identify(token)

    house.clock.advance(0.1)

    refused(house, token)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "other",
    [
        {"agent": "triage"},
        {"actor": principal("agent:refunds", kind="agent", tenant="acme")},
        {"step_id": "run_1/3"},
        {"run_id": "run_2"},
    ],
)
async def test_a_token_is_of_no_use_for_another_agent_tenant_step_or_run(
    house: House, other: dict[str, str | Principal]
) -> None:
    token = bearer(house.tokens.mint(house.step()))
    changed = house.step()
    for name, value in other.items():
        changed = replace(changed, **{name: value})

    await house.steps.open(changed)

    refused(house, token)


@pytest.mark.anyio
async def test_a_step_that_passes_to_another_agent_ends_the_first_ones_token(house: House) -> None:
    step = house.step()
    token = bearer(house.tokens.mint(step))
    await house.steps.open(step)
    house.door.identify(token)

    await house.steps.open(replace(step, agent="triage"))

    refused(house, token)


@pytest.mark.anyio
async def test_tokens_that_begin_alike_are_told_apart(house: House) -> None:
    """CVE-2026-35030: a cache keyed by the beginning of a token gave one caller another's identity."""
    step = house.step()
    await house.steps.open(step)
    token = house.tokens.mint(step)
    house.door.identify(bearer(token))

    for kept in range(1, len(token)):
        refused(house, bearer(token[:kept] + ("A" if token[kept] != "A" else "B") * (len(token) - kept)))

    signature = token.rpartition(".")[2]
    other = house.tokens.mint(replace(step, step_id="run_1/3")).rpartition(".")[0]
    refused(house, bearer(f"{other}.{signature}"))


@given(place=st.integers(0, 10_000), character=st.integers(0, 255))
def test_changing_any_character_of_a_key_that_was_used_ends_it(place: int, character: int) -> None:
    house = House()
    for key in (bearer(ANA_KEY), bearer(house.minted(KeyGrant(subject="carl")))):
        house.door.identify(key)
        at = len(b"Bearer ") + place % (len(key) - len(b"Bearer "))
        if key[at] != character:
            refused(house, key[:at] + bytes([character]) + key[at + 1 :])


@pytest.mark.anyio
async def test_an_agents_bare_key_carries_the_labels_of_all_its_open_steps(house: House) -> None:
    key = bearer(REFUNDS_KEY)
    assert house.door.identify(key) == Identity(principal=REFUNDS)

    step = replace(house.step(), phase="commit")
    await house.steps.open(step)
    await house.steps.open(replace(step, step_id="run_1/3", labels=SECRET))
    await house.steps.open(replace(house.step(TRIAGE), step_id="run_1/4", labels=Labels(regions=frozenset({"eu"}))))
    assert house.door.identify(key) == Identity(principal=REFUNDS, labels=WEB.join(SECRET))

    await house.steps.close("run_1", "run_1/2")
    assert house.door.identify(key) == Identity(principal=REFUNDS, labels=SECRET)
    await house.steps.close("run_1", "run_1/3")
    assert house.door.identify(key) == Identity(principal=REFUNDS)


@pytest.mark.anyio
async def test_an_agents_bare_key_only_proposes_while_none_of_its_steps_may_do_more(house: House) -> None:
    key = bearer(REFUNDS_KEY)
    assert house.door.identify(key).phase == ""

    await house.steps.open(house.step())
    assert house.door.identify(key).phase == "propose"
    await house.steps.open(replace(house.step(), run_id="run_2", step_id="run_2/5", phase="commit"))
    assert house.door.identify(key).phase == ""
    await house.steps.close("run_2", "run_2/5")
    assert house.door.identify(key).phase == "propose"
    await house.steps.close("run_1", "run_1/2")
    assert house.door.identify(key).phase == ""


@pytest.mark.anyio
async def test_a_key_minted_for_an_agent_carries_them_too(house: House) -> None:
    key = bearer(house.minted(KeyGrant(subject="agent:refunds", kind="agent")))
    await house.steps.open(house.step())

    assert house.door.identify(key) == Identity(principal=REFUNDS, phase="propose", labels=WEB)


@pytest.mark.anyio
async def test_an_agent_that_needs_delegation_is_refused_by_any_key_and_known_by_its_token(house: House) -> None:
    step = house.step(TRIAGE)
    await house.steps.open(step)

    refused(house, bearer(TRIAGE_KEY))
    refused(house, bearer(house.minted(KeyGrant(subject="agent:triage", kind="agent"))))
    assert house.door.identify(bearer(house.tokens.mint(step))).principal == step.actor


def test_a_minted_key_is_refused_for_now_while_nobody_can_say_that_it_was_not_revoked() -> None:
    house, current = House(), [True]
    house.door = Authenticator(
        mint=house.mint,
        tokens=house.tokens,
        steps=house.steps,
        clock=house.clock,
        keys_are_current=lambda: current[0],
    )
    house.door.reload(CREDENTIALS)
    minted = house.minted(KeyGrant(subject="carl"))
    agents = house.minted(KeyGrant(subject="agent:refunds", kind="agent"))
    assert house.door.identify(bearer(minted)).principal.subject == "carl"
    assert house.door.identify(bearer(agents)).principal == REFUNDS

    current[0] = False
    for key in (minted, agents):
        with pytest.raises(Unavailable):
            house.door.identify(bearer(key))
    assert house.door.identify(bearer(ANA_KEY)).principal is ANA

    current[0] = True
    assert house.door.identify(bearer(minted)).principal.subject == "carl"


@pytest.mark.anyio
async def test_a_step_that_another_gateway_opens_and_closes_counts_at_the_next_call(house: House) -> None:
    elsewhere = MemoryOpenSteps(house.steps.rows)
    step = house.step()
    token = bearer(house.tokens.mint(step))
    assert (await house.door.authenticate(bearer(REFUNDS_KEY))).labels == Labels()

    await elsewhere.open(step)
    assert (await house.door.authenticate(token)).step_id == step.step_id
    assert (await house.door.authenticate(bearer(REFUNDS_KEY))).labels == WEB

    await elsewhere.close(step.run_id, step.step_id)
    with pytest.raises(Unauthenticated):
        await house.door.authenticate(token)
    assert (await house.door.authenticate(bearer(REFUNDS_KEY))).labels == Labels()
    assert (await house.door.authenticate(bearer(ANA_KEY))).principal is ANA
