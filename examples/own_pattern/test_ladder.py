"""The pattern's own tests: no gateway, no network, no waiting."""

import pytest
from drawbridge_ladder.pattern import Ladder

from gateway.core.errors import InvalidRequest
from gateway.testing.agents import fails, says, takes
from gateway.testing.rehearsal import Stage, rehearse

LADDER = Ladder({"agents": ["small", "middle", "large"]})


@pytest.mark.anyio
async def test_the_first_that_is_sure_enough_answers() -> None:
    agents = {
        "agent:small": takes(1, says({"confidence": 0.4})),
        "agent:middle": takes(10, says({"confidence": 0.9, "answer": 42})),
    }
    seen = await rehearse(LADDER, Stage(agents=agents))
    assert seen.outcome.value == {"confidence": 0.9, "answer": 42}
    assert [asked.target for asked in seen.asked] == ["agent:small", "agent:middle"]
    assert seen.decisions("climb") == [{"what": "climb", "chosen": "agent:small", "because": "not sure enough (0.4)"}]
    assert seen.took_s == 11


@pytest.mark.anyio
async def test_an_answer_nobody_can_give_is_an_error_that_names_everybody() -> None:
    agents = {f"agent:{slug}": fails("no idea") for slug in ("small", "middle", "large")}
    seen = await rehearse(LADDER, Stage(agents=agents))
    assert seen.outcome.error == "nobody was sure enough"
    assert [gap.step for gap in seen.outcome.gaps] == ["agent:small", "agent:middle", "agent:large"]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Ladder({"agents": []})
