"""Patterns are found by name, the built-in ones by the same door."""

import sys
from pathlib import Path

import pytest

from gateway.core.errors import InvalidRequest
from gateway.patterns.sequential.pattern import Sequential
from gateway.patterns.supervisor.pattern import Supervisor
from gateway.plugins import load_patterns, offered


def test_the_built_in_patterns_are_offered_like_any_other() -> None:
    assert {"sequential", "supervisor"} <= set(offered())
    assert load_patterns(["supervisor", "sequential", "supervisor"]) == {
        "sequential": Sequential,
        "supervisor": Supervisor,
    }


def test_a_name_nobody_offers_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidRequest, match="sequential"):
        load_patterns(["ghost"])


@pytest.mark.parametrize("value", ["no_such_module:It", "gateway.plugins:PATTERNS"])
def test_a_plug_in_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    distribution = tmp_path / "broken-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text(f"[gateway.patterns]\nbroken = {value}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InvalidRequest, match="broken"):
        load_patterns(["broken"])


def test_a_name_two_distributions_offer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        distribution = tmp_path / f"dist{number}-1.0.dist-info"
        distribution.mkdir()
        (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist{number}\nVersion: 1.0\n")
        (distribution / "entry_points.txt").write_text(f"[gateway.patterns]\ntwice = module{number}:It\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InvalidRequest, match="two"):
        load_patterns(["twice"])
