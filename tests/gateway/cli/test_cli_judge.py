"""`drawbridge judge eval`, without a gateway: judges that are rules."""

import json
from pathlib import Path

import pytest

from gateway.cli.failure import FINDING, OK, USAGE
from gateway.cli.main import main
from gateway.cli.mcp_calls import tool_name
from gateway.core.json import Json

RUBRIC: Json = {
    "evidence": {"weight": 3, "rule": "cites", "least": 2},
    "complete": {"rule": "fields", "fields": ["risk", "verdict"]},
}
THIN: Json = {"risk": 1, "verdict": "buy"}
THICK: Json = {"risk": 1, "evidence": ["p. 1", "p. 2"]}


def written(folder: Path, cases: list[Json], **settings: Json) -> list[str]:
    workflows: Json = {
        "risk": {"pattern": "consensus", "agents": ["a", "b"], "consensus": {"rubric": RUBRIC}, **settings},
        "other": {"pattern": "sequential", "stages": [{"agent": "a"}]},
    }
    agents: Json = {name: {"card": "http://127.0.0.1:9"} for name in ("a", "b", "j")}
    (folder / "gateway.yaml").write_text(json.dumps({"agents": agents, "workflows": workflows}))
    (folder / "gold.jsonl").write_text("\n".join(map(json.dumps, cases)))
    return [str(folder / "gold.jsonl"), "--config", str(folder / "gateway.yaml"), "--data", str(folder / "data")]


RIGHT: Json = {"answers": {"x": THIN, "y": THICK}, "best": "y", "scores": {"x": {"complete": 0.5}}}
WRONG: Json = {"id": "hard", "answers": {"x": THIN, "y": THICK}, "best": "x"}


def test_a_rubric_is_compared_with_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = written(tmp_path, [RIGHT, WRONG])
    assert main(["judge", "eval", *given, "--workflow", "risk", "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {
        "workflow": "risk",
        "cases": 2,
        "accuracy": 0.5,
        "rankCorrelation": 0.0,
        "position": {"changed": 0.0, "firstWins": 0.5, "expected": 0.5},
        "criteria": [
            {"criterion": "evidence", "weight": 3.0, "scores": 0, "bias": None, "error": None},
            {"criterion": "complete", "weight": 1.0, "scores": 2, "bias": 0.5, "error": 0.5},
        ],
        "wrong": [{"id": "hard", "best": ["x"], "chosen": ["y"]}],
    }


def test_people_are_told_what_was_judged_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = written(tmp_path, [RIGHT, WRONG])
    assert main(["judge", "eval", *given, "--workflow", "risk"]) == OK
    said = capsys.readouterr().out
    assert "accuracy                        50%" in said
    assert "hard: y, and x is best" in said


@pytest.mark.parametrize(("bar", "code"), [("0.5", OK), ("0.51", FINDING)])
def test_a_judge_below_the_bar_is_a_finding(tmp_path: Path, bar: str, code: int) -> None:
    given = written(tmp_path, [RIGHT, WRONG])
    assert main(["judge", "eval", *given, "--workflow", "risk", "--accuracy", bar]) == code


@pytest.mark.parametrize(
    ("more", "settings", "said"),
    [
        (["--workflow", "ghost"], {}, "no workflow ghost; it has other, risk"),
        (["--workflow", "other"], {}, "other is a sequential"),
        (["--workflow", "risk"], {"judge": "j", "consensus": {"rubric": {"sound": {}}}}, "the judge is agent:j"),
        (["--workflow", "risk", "--online"], {}, "--online needs --key"),
    ],
)
def test_what_cannot_be_judged_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], settings: dict[str, Json], said: str
) -> None:
    assert main(["judge", "eval", *written(tmp_path, [RIGHT], **settings), *more]) == USAGE
    assert said in capsys.readouterr().err


def test_a_gold_set_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = written(tmp_path, [RIGHT, {"best": "x"}])
    assert main(["judge", "eval", *given, "--workflow", "risk"]) == USAGE
    assert "line 2 of the gold set" in capsys.readouterr().err
    assert main(["judge", "eval", str(tmp_path), *given[1:], "--workflow", "risk"]) == USAGE


@pytest.mark.parametrize(
    ("capability", "name"),
    [("agent:risk", "agents__risk"), ("workflow:w", "workflows__w"), ("tool:orders/find", "orders__find")],
)
def test_capabilities_are_called_by_the_names_clients_know(capability: str, name: str) -> None:
    assert tool_name(capability) == name
