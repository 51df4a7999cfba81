"""The section `principals`, and what becomes of it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.identity.apikeys import KeyMint, new_key
from adapters.identity.credentials import Credential, credential_table, operator_credential, principal_credentials
from adapters.identity.keyfiles import OperatorKey
from adapters.identity.secrets import SecretResolver
from adapters.identity.settings import PrincipalSettings
from gateway.core.errors import InvalidRequest
from gateway.core.model import principal
from gateway.core.ports.world import Secret

MINT = KeyMint(bytes(32))


def resolver(**environment: str) -> SecretResolver:
    return SecretResolver(Path("nowhere"), environment=environment)


def test_a_principal_is_read_from_its_section() -> None:
    settings = PrincipalSettings.model_validate({"roles": ["support"], "key": "env:ANA_KEY", "tenant": "acme"})

    (found,) = principal_credentials({"ana": settings}, resolver(ANA_KEY="the-key"))

    assert found.principal == principal("ana", tenant="acme", roles=frozenset({"support"}))
    assert found.key is not None
    assert found.key.reveal() == "the-key"


def test_a_principal_needs_no_key_of_its_own() -> None:
    assert principal_credentials({"ana": PrincipalSettings()}, resolver()) == [Credential(principal=principal("ana"))]


def test_a_reference_that_leads_nowhere_names_its_place() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        principal_credentials({"ana": PrincipalSettings(key="env:ANA_KEY")}, resolver())

    assert refusal.value.detail["path"] == "principals.ana.key"
    assert "ANA_KEY" in refusal.value.message


@pytest.mark.parametrize(
    "wrong", [{"key": "hunter2-literal"}, {"role": ["x"]}, {"kind": "workflow"}, {"kind": "root"}, {"roles": "support"}]
)
def test_a_section_with_a_literal_key_or_an_unknown_word_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refusal:
        PrincipalSettings.model_validate(wrong)

    assert "hunter2" not in str(refusal.value)


def test_the_operator_is_who_holds_the_key_file() -> None:
    key = Secret(new_key())

    credential = operator_credential(OperatorKey(key=key, created=True))

    assert credential == Credential(
        principal=principal("operator", kind="operator", roles=frozenset({"operator"})), key=key
    )
    assert credential_table([credential], MINT).by_digest[MINT.digest(key.reveal().encode())] is credential


def test_one_name_may_exist_in_two_tenants() -> None:
    table = credential_table([Credential(principal=principal("ana", tenant=each)) for each in ("a", "b")], MINT)

    assert set(table.by_subject) == {("a", "ana"), ("b", "ana")}


@pytest.mark.parametrize("key", ["short", "changeme-changeme-changeme", "a" * 40])
def test_a_weak_key_is_refused_by_the_name_of_its_principal(key: str) -> None:
    with pytest.raises(InvalidRequest, match="ana"):
        credential_table([Credential(principal=principal("ana"), key=Secret(key))], MINT)
