"""What all stories have in common: they are listed, they are told, and their configurations are right."""

from pathlib import Path

import pytest

from examples.stories import __main__ as stories
from gateway.app.scenarios import ready_in, run_scenario
from gateway.app.sections import SECTIONS
from gateway.config.load import parse
from gateway.orchestration.orchestrator import check
from gateway.orchestration.settings.workflow import WorkflowSettings
from gateway.plugins import load_patterns

TESTS = Path(__file__).parent
FOLDER = Path(stories.__file__).parent
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/gateway.yaml"))
PLAYED = sorted(path.parent.name for path in FOLDER.glob("*/scenario.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_story_is_listed_described_and_tested(name: str) -> None:
    assert f"[{name}]({name}/README.md)" in (FOLDER / "README.md").read_text()
    said = (FOLDER / name / "README.md").read_text()
    assert said.startswith("# ")
    assert 8 <= len(said.splitlines()) <= 45
    if (FOLDER / name / "story.py").exists():
        assert (TESTS / f"test_story_{name}.py").exists()
    else:
        assert name in PLAYED


@pytest.mark.parametrize("name", PLAYED)
def test_every_scenario_goes_as_it_says(name: str) -> None:
    for ready in ready_in(FOLDER / name / "scenario.yaml"):
        report = run_scenario(ready, times=1, seed=None)
        assert report.passed, (report.name, report.problem, [each.findings for each in report.trials])


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_is_right(name: str) -> None:
    sections = parse((FOLDER / name / "gateway.yaml").read_text(), SECTIONS).sections
    workflows: dict[str, WorkflowSettings] = sections["workflows"]  # pyright: ignore[reportAssignmentType]
    check(load_patterns({each.pattern for each in workflows.values()}), workflows)


def test_the_stories_are_listed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert stories.main([]) == 0
    assert capsys.readouterr().out.split() == [*stories.names()]
