"""References to secrets: what is behind them, and what an error gives away."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from adapters.identity.secrets import SecretResolver, check_reference, is_reference
from gateway.core.errors import InvalidRequest


class OneEntry(KeyringBackend):
    def get_password(self, service: str, username: str) -> str | None:
        return one_entry(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture
def system_keyring() -> Iterator[None]:
    """Whatever keyring a test sets, the one before is back after it."""
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def one_entry(service: str, name: str) -> str | None:
    return "from-keyring" if (service, name) == ("https://x/y", "ana") else None


def refusal(resolver: SecretResolver, reference: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        resolver.resolve(reference)
    return refused.value.message


def test_a_variable_is_read_when_asked(tmp_path: Path) -> None:
    environment = {"ANA_KEY": "one"}
    resolver = SecretResolver(tmp_path, environment=environment)
    assert resolver.resolve("env:ANA_KEY").reveal() == "one"

    environment["ANA_KEY"] = "two"

    assert resolver.resolve("env:ANA_KEY").reveal() == "two"


def test_a_file_is_looked_for_beside_the_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ana.key").write_text("s3cret value\r\n")
    (tmp_path / "ana.key").chmod(0o600)
    resolver = SecretResolver(tmp_path)

    assert resolver.resolve("file:ana.key").reveal() == "s3cret value"
    assert resolver.resolve(f"file:{tmp_path / 'ana.key'}").reveal() == "s3cret value"
    assert caplog.records == []


def test_a_file_everybody_can_read_is_warned_of_without_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ana.key").write_text("s3cret")
    (tmp_path / "ana.key").chmod(0o644)

    with caplog.at_level(logging.WARNING):
        assert SecretResolver(tmp_path).resolve("file:ana.key").reveal() == "s3cret"

    assert "file:ana.key" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_entry_of_the_keyring_is_found_by_service_and_name(tmp_path: Path) -> None:
    resolver = SecretResolver(tmp_path, from_keyring=one_entry)

    assert resolver.resolve("keyring:https://x/y/ana").reveal() == "from-keyring"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:ANA_KEY", "ANA_KEY"),
        ("env:EMPTY", "empty"),
        ("file:missing", "file:missing"),
        ("file:folder", "file:folder"),
        ("file:pipe", "not a file"),
        ("file:binary", "not text"),
        ("file:large", "too large"),
        ("file:blank", "empty"),
        ("keyring:service/nobody", "no such entry"),
        ("keyring:service", "malformed"),
        ("keyring:/name", "malformed"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_by_name(tmp_path: Path, reference: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "blank").write_text("\n")
    resolver = SecretResolver(tmp_path, environment={"EMPTY": ""}, from_keyring=one_entry)

    assert said in refusal(resolver, reference)


@pytest.mark.usefixtures("system_keyring")
def test_the_system_keyring_is_asked_where_no_other_is_given(tmp_path: Path) -> None:
    keyring.set_keyring(OneEntry())

    assert SecretResolver(tmp_path).resolve("keyring:https://x/y/ana").reveal() == "from-keyring"


@pytest.mark.usefixtures("system_keyring")
def test_a_machine_without_keyring_is_told_what_else_to_use(tmp_path: Path) -> None:
    keyring.set_keyring(NoKeyring())
    said = refusal(SecretResolver(tmp_path), "keyring:service/ana")

    assert "keyring:service/ana" in said
    assert "env:" in said


@pytest.mark.parametrize("literal", ["hunter2-hunter2", "vault:x", "ENV:X", "env:", "file", "", "sk-live:abc"])
def test_a_literal_is_refused_with_a_hint_and_not_repeated(tmp_path: Path, literal: str) -> None:
    assert not is_reference(literal)
    with pytest.raises(ValueError, match="env:NAME") as refused:
        check_reference(literal)

    said = refusal(SecretResolver(tmp_path), literal)

    assert "env:NAME" in said
    for words in (said, str(refused.value)):
        assert literal in ("", "env:", "file") or literal not in words


def test_what_is_not_repeated_is_not_in_the_chain_of_causes_either(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"s3cret\xff")

    with pytest.raises(InvalidRequest) as refused:
        SecretResolver(tmp_path).resolve("file:binary")

    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
