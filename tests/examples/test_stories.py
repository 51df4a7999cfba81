"""What all stories have in common: they are listed, they are told, and their configurations are right."""

from pathlib import Path

import pytest

from examples.stories import __main__ as stories
from gateway.app.sections import SECTIONS
from gateway.config.load import parse
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings import WorkflowSettings
from gateway.plugins import load_patterns

TESTS = Path(__file__).parent
FOLDER = Path(stories.__file__).parent
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/gateway.yaml"))


def test_stories_that_are_asked_for_by_name_are_there() -> None:
    assert set(stories.names()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_story_is_listed_described_and_tested(name: str) -> None:
    assert f"[{name}]({name}/README.md)" in (FOLDER / "README.md").read_text()
    said = (FOLDER / name / "README.md").read_text()
    assert said.startswith("# ")
    assert 8 <= len(said.splitlines()) <= 40
    assert (TESTS / f"test_story_{name}.py").exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_is_right(name: str) -> None:
    sections = parse((FOLDER / name / "gateway.yaml").read_text(), SECTIONS).sections
    workflows: dict[str, WorkflowSettings] = sections["workflows"]  # pyright: ignore[reportAssignmentType]
    check(load_patterns({each.pattern for each in workflows.values()}), workflows)


def test_the_stories_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert stories.main([]) == 0
    assert capsys.readouterr().out.split() == [*stories.names()]
