"""The database the configuration means, behind its reference."""

from pathlib import Path

import pytest

from adapters.identity.secrets import SecretResolver
from adapters.storage.settings import StorageSettings
from gateway.app.storage_url import postgres_url
from gateway.core.errors import InvalidRequest

URL = "postgresql://gateway:hunter2@db/drawbridge"


def resolver(**environment: str) -> SecretResolver:
    return SecretResolver(Path(), environment=environment)


def test_files_are_used_where_nothing_is_said() -> None:
    assert postgres_url(StorageSettings(), resolver()) is None


def test_a_reference_is_resolved_and_a_url_is_itself() -> None:
    behind = postgres_url(StorageSettings(url="env:STORAGE"), resolver(STORAGE=URL))
    itself = postgres_url(StorageSettings(url="postgresql://gateway@db/drawbridge"), resolver())

    assert behind is not None and behind.reveal() == URL
    assert itself is not None and itself.reveal() == "postgresql://gateway@db/drawbridge"


@pytest.mark.parametrize("value", ["hunter2", "mysql://gateway:hunter2@db/drawbridge", "postgresql://hunter2"])
def test_what_is_no_database_is_refused_by_the_name_of_its_reference(value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        postgres_url(StorageSettings(url="env:STORAGE"), resolver(STORAGE=value))

    assert "env:STORAGE" in refused.value.message
    assert "hunter2" not in refused.value.message
