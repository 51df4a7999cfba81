"""What rules say of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import Json, JsonObject
from gateway.core.ports.orchestration import Offer
from gateway.patterns.router.rules import Ruling, judged, normalised, overlaps, rules_in
from gateway.patterns.router.verdicts import by_words, verdict_from
from gateway.patterns.shared.wishes import Intent

DESK: list[JsonObject] = [
    {"agent": "refunds", "keywords": ["refund*", "money back"]},
    {"agent": "billing", "keywords": ["invoice"], "regex": r"\bINV-\d{4}\b"},
    {"agent": "calls", "keywords": ["call me"]},
    {"agent": "vip", "when": '$task.tier == "gold"', "weight": 5},
]


def said(message: str, data: Json = None, rules: list[JsonObject] = DESK, **offers: frozenset[str]) -> Ruling:
    known = {
        f"agent:{name}": Offer(target=f"agent:{name}", found=True, skills=skills) for name, skills in offers.items()
    }
    return judged(rules_in({"rules": [*rules]}), message, data, known, by_skill=bool(offers))


@pytest.mark.parametrize(
    ("message", "worker"),
    [
        ("I want my MONEY   back", "agent:refunds"),
        ("refunding was promised", "agent:refunds"),
        ("where is inv-2041?", "agent:billing"),
        ("call me", "agent:calls"),
        ("recall merchandise", ""),
        ("the refundable", "agent:refunds"),
        ("nothing of the kind", ""),
        ("", ""),
    ],
)
def test_words_and_expressions_find_their_worker(message: str, worker: str) -> None:
    assert said(message).strongest == worker


def test_a_condition_on_the_data_outweighs_words() -> None:
    ruling = said("refund me, and the invoice is wrong", {"tier": "gold"})
    assert (ruling.strongest, ruling.intents) == ("agent:vip", ())
    assert ruling.share == pytest.approx(5 / 7)


def test_parts_of_different_workers_are_different_wishes_in_their_own_words() -> None:
    ruling = said("Refund A-1007 please. It never arrived, and send the Invoice again; then call me")
    assert ruling.intents == (
        Intent(worker="agent:refunds", text="Refund A-1007 please It never arrived"),
        Intent(worker="agent:billing", text="send the Invoice again"),
        Intent(worker="agent:calls", text="call me"),
    )


def test_one_part_claimed_by_two_is_no_second_wish() -> None:
    ruling = said("refund the invoice")
    assert ruling.intents == ()
    assert ruling.share == 0.5


def test_the_same_worker_twice_is_one_wish() -> None:
    assert said("refund this. And that, money back!").intents == ()


def test_what_drove_it_is_named_and_the_message_is_not_repeated() -> None:
    hits = [hit.to_json() for hit in said("my invoice INV-1234 secret words").hits]
    assert hits == [
        {"worker": "agent:billing", "rule": 1, "by": "keyword invoice", "weight": 1.0},
        {"worker": "agent:billing", "rule": 1, "by": "regex", "weight": 1.0},
    ]


def test_a_skill_finds_whoever_declares_it() -> None:
    rules: list[JsonObject] = [{"skill": "translate", "keywords": ["german"]}, {"skill": "draw"}]
    can = {"one": frozenset({"translate"}), "two": frozenset({"draw"})}
    known = {f"agent:{name}": Offer(target=f"agent:{name}", found=True, skills=can[name]) for name in can}
    parsed = rules_in({"rules": [*rules]})
    assert judged(parsed, "into German", None, known).strongest == "agent:one"
    assert judged(parsed, "x", {"skill": "Draw"}, known).strongest == "agent:two"
    assert judged(parsed, "into German", None, {}).strongest == ""


def test_declared_tags_count_half_and_a_named_skill_in_full() -> None:
    ruling = said("invoice and tax advice", rules=DESK, tax=frozenset({"tax", "advice"}))
    assert ruling.scores == {"agent:billing": 1.0, "agent:tax": 1.0}
    assert said("x", {"skill": "tax"}, tax=frozenset({"tax"})).strongest == "agent:tax"


@pytest.mark.parametrize(
    "rule",
    [
        {"agent": "a"},
        {"agent": "a", "keywords": [" "]},
        {"agent": "a", "keywords": ["*"]},
        {"agent": "a", "regex": "(a+)+"},
        {"agent": "a", "when": "amount > 3"},
        {"agent": "a", "when": "$other.amount > 3"},
        {"keywords": ["x"]},
    ],
)
def test_rules_that_make_no_sense_are_refused_by_their_number(rule: JsonObject) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules_in({"rules": [{"agent": "a", "keywords": ["x"]}, rule]})
    assert refused.value.detail["setting"] == "router.rules[1]"


def test_rules_that_fight_over_the_same_words_are_found() -> None:
    rules: list[JsonObject] = [
        {"agent": "a", "keywords": ["refund*"]},
        {"agent": "b", "keywords": ["refund status"]},
        {"agent": "c", "regex": "orders? \\d+"},
        {"agent": "d", "keywords": ["order 7"]},
        {"agent": "a", "keywords": ["refunds"]},
        {"agent": "e", "when": "$task.gold"},
        {"agent": "f", "when": "$task.gold"},
        {"agent": "g", "keywords": ["refunds"], "when": "$task.gold"},
    ]
    found = overlaps(rules_in({"rules": [*rules]}))
    assert [text.split(" both")[0] for text in found] == [
        "rules 0 (agent:a) and 1 (agent:b)",
        "rules 2 (agent:c) and 3 (agent:d)",
        "rules 5 (agent:e) and 6 (agent:f)",
    ]


@given(st.text(max_size=300))
def test_every_wish_is_of_the_message_and_each_worker_has_one(message: str) -> None:
    text = f"{message} refund. {message} invoice"
    ruling = said(text)
    assert len({each.worker for each in ruling.intents}) == len(ruling.intents)
    assert 0 <= ruling.share <= 1
    for intent in ruling.intents:
        for word in intent.text.split():
            assert word in text


@given(st.text(max_size=80))
def test_a_request_is_the_same_however_it_was_typed(message: str) -> None:
    once = normalised(message)
    assert normalised(f"  {message.upper().lower()}  ".replace(" ", "   ")) == normalised(message.upper().lower())
    assert normalised(once) == normalised(once + " ")


WORKERS = ("agent:refunds", "tool:orders/find")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"worker": "refunds", "confidence": 1}, ("agent:refunds", 1.0)),
        ({"worker": "orders/find", "confidence": 0.2}, ("tool:orders/find", 0.2)),
        ('Sure: ```json\n{"worker": "agent:refunds", "confidence": 0.9}\n```', ("agent:refunds", 0.9)),
        ({"worker": None, "confidence": 0}, ("", 0.0)),
        ({"worker": "none", "confidence": 0.9}, ("", 0.9)),
    ],
)
def test_a_verdict_is_read_as_classifiers_write_it(value: Json, expected: tuple[str, float]) -> None:
    verdict = verdict_from(value, WORKERS)
    assert (verdict.worker, verdict.confidence) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"worker": "ghost", "confidence": 1},
        {"worker": "refunds"},
        {"worker": "refunds", "confidence": 7},
        {"worker": "refunds", "confidence": True},
        {"worker": "refunds", "confidence": 1, "intents": [{"text": "x"}]},
        "refunds, I think",
        None,
    ],
)
def test_what_is_no_verdict_is_refused(value: Json) -> None:
    with pytest.raises(InvalidRequest):
        verdict_from(value, WORKERS)


def test_descriptions_are_compared_by_their_words() -> None:
    offers = {
        "agent:a": Offer(target="agent:a", found=True, title="Refunds", description="pays customers back money"),
        "agent:b": Offer(target="agent:b", found=True, title="Deliveries", description="tracks parcels of customers"),
        "agent:c": Offer(target="agent:c", found=False, title="money money"),
    }
    assert by_words("I want my money", offers).worker == "agent:a"
    assert by_words("I want my money", offers).confidence == 1.0
    assert by_words("my parcel is late", offers).worker == "agent:b"
    assert by_words("xyzzy", offers).worker == ""
