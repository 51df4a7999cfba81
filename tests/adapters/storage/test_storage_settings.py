"""Where rows are kept: what may stand in the configuration, and that no password comes back out of it."""

import pytest
from pydantic import ValidationError

from adapters.storage.settings import StorageSettings, checked_url

GOOD = [
    "postgresql://gateway@db/drawbridge",
    "postgres://gateway@127.0.0.1:5432/drawbridge?sslmode=require",
    "postgresql:///drawbridge?host=/run/postgresql",
]


@pytest.mark.parametrize("url", ["", "env:STORAGE_URL", "file:secrets/url", "keyring:drawbridge/url", *GOOD])
def test_a_url_without_a_password_and_a_reference_may_stand_there(url: str) -> None:
    assert StorageSettings.model_validate({"url": url}).url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:hunter2@db/drawbridge",
        "postgresql://gateway@db/drawbridge?password=hunter2",
        "mysql://hunter2@db/drawbridge",
        "postgresql://hunter2",
        "postgresql://hunter2@db:port/drawbridge",
        "postgresql://hunter2[/drawbridge",
        "hunter2",
        "env:",
    ],
)
def test_anything_else_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        StorageSettings.model_validate({"url": url})

    assert "hunter2" not in str(refused.value)


def test_the_secret_is_a_reference() -> None:
    assert StorageSettings.model_validate({"secret": "env:SHARED"}).secret == "env:SHARED"
    with pytest.raises(ValidationError) as refused:
        StorageSettings.model_validate({"secret": "hunter2hunter2hunter2"})

    assert "hunter2" not in str(refused.value)


def test_a_resolved_url_may_have_a_password() -> None:
    assert checked_url("postgresql://gateway:hunter2@db/drawbridge")


@pytest.mark.parametrize("connections", [2, 201, "many"])
def test_connections_are_bounded(connections: object) -> None:
    with pytest.raises(ValidationError):
        StorageSettings.model_validate({"connections": connections})
