import pytest
from pydantic import ValidationError

from adapters.storage.settings import AuditSettings


def test_bodies_are_off_unless_asked_for() -> None:
    assert AuditSettings().bodies is False


@pytest.mark.parametrize(
    "wrong", [{"body": True}, {"commit_ms": 0}, {"checkpoint_s": 0}, {"body_bytes": 1}, {"mask": "iban"}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AuditSettings.model_validate(wrong)


def test_every_setting_says_what_it_does() -> None:
    assert all(field.description for field in AuditSettings.model_fields.values())
