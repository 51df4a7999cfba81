"""Labels, budgets, verdicts, task states, errors: the algebra everything else relies on."""

from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.content import EMPTY, Content, Part, content_of, data_part, plain, text_part
from gateway.core.errors import ERRORS, Exhausted, GatewayError, InDoubt
from gateway.core.json import canonical_json, json_from, json_list, json_object, json_text
from gateway.core.labels import CLEAN, Labels, join_all, labels_from_json
from gateway.core.limits import Budget, Usage
from gateway.core.model import ignore_event, principal
from gateway.core.ports.world import Secret
from gateway.core.task import TaskPage
from gateway.core.verdict import Allow, Ask, Deny, Rewrite, Verdict, judge

names = st.frozensets(st.sampled_from(["a", "b", "c", "d"]), max_size=3)
labels = st.builds(Labels, untrusted=names, confidential=names, regions=names)
amounts = st.none() | st.integers(0, 100)
budgets = st.builds(
    Budget,
    deadline_s=st.floats(0, 1000),
    calls=amounts,
    tokens=amounts,
    cost_usd=st.none() | st.integers(0, 9).map(Decimal),
    depth=st.integers(0, 5),
)

GRANT = Allow(policy="access", rule="r", grant=True)
verdicts = st.sampled_from(
    [
        GRANT,
        Allow(policy="quota"),
        Deny(policy="access", rule="d", reason=""),
        Rewrite(policy="privacy", rule="w", reason=""),
        Ask(policy="approval", rule="a", reason="", role="boss"),
    ]
)


@given(labels, labels, labels)
def test_labels_form_a_join_semilattice(a: Labels, b: Labels, c: Labels) -> None:
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(a) == a
    assert a.join(CLEAN) == CLEAN.join(a) == a


@given(st.lists(labels, max_size=4))
def test_a_join_loses_no_label(several: list[Labels]) -> None:
    joined = join_all(several)
    assert all(joined.covers(each) for each in several)
    assert joined.trusted == all(each.trusted for each in several)


@given(labels)
def test_labels_survive_json(a: Labels) -> None:
    assert labels_from_json(a.to_json()) == a
    assert labels_from_json(None) == CLEAN


def test_covering_needs_every_kind_of_label() -> None:
    assert not CLEAN.covers(Labels(regions=frozenset({"eu"})))


@given(budgets, st.none() | st.floats(0, 2000), amounts)
def test_a_childs_budget_never_grows(budget: Budget, deadline_s: float | None, tokens: int | None) -> None:
    if budget.depth == 0:
        with pytest.raises(Exhausted):
            budget.child(deadline_s=deadline_s, tokens=tokens)
        return
    child = budget.child(deadline_s=deadline_s, tokens=tokens)
    assert child.deadline_s <= budget.deadline_s
    assert child.depth < budget.depth
    for mine, theirs in ((budget.tokens, child.tokens), (budget.calls, child.calls)):
        assert mine is None or (theirs is not None and theirs <= mine)


@given(budgets, st.floats(0, 2000))
def test_a_budget_ends_at_the_sooner_deadline(budget: Budget, deadline_s: float) -> None:
    assert budget.until(deadline_s).deadline_s == min(budget.deadline_s, deadline_s)
    assert budget.seconds_left(budget.deadline_s + 1) == 0.0


def test_usage_adds_up() -> None:
    once = Usage(calls=1, tokens=2, cost_usd=Decimal("0.5"))
    assert once + once == Usage(calls=2, tokens=4, cost_usd=Decimal("1.0"))


@given(st.lists(verdicts, max_size=5))
def test_the_highest_rank_decides_whatever_the_order(said: list[Verdict]) -> None:
    rank = {Deny: 0, Ask: 1, Rewrite: 2, Allow: 3}
    deciding = judge(said).deciding
    granted = any(isinstance(v, Allow) and v.grant for v in said)
    best = min((rank[type(v)] for v in said), default=3)
    assert rank[type(deciding)] == (best if granted or best < 2 else 0)
    assert len({type(judge(order).deciding) for order in permutations(said)}) == 1


def test_the_first_deny_decides_among_several() -> None:
    first, second = Deny(policy="a", rule="1", reason=""), Deny(policy="b", rule="2", reason="")
    assert judge([GRANT, first, second]).deciding is first


def test_every_error_describes_itself_in_the_same_shape() -> None:
    for kind in ERRORS:
        described = kind("why", detail={"record": "rec_1"}, retry_after_s=2).describe()
        assert described["code"] == kind.wire.code
        assert (described["message"], described["record"], described["retryAfterSeconds"]) == ("why", "rec_1", 2)
    assert "retryAfterSeconds" not in InDoubt("why").describe()


def test_our_error_numbers_lie_outside_what_json_rpc_reserves() -> None:
    assert all(not -32768 <= kind.wire.code <= -32000 for kind in ERRORS)
    assert all(issubclass(kind, GatewayError) for kind in ERRORS)


def test_content_says_its_value_or_its_text() -> None:
    assert content_of("hello").value == "hello"
    assert content_of({"a": 1}, text="one").text == "one"
    assert content_of({"a": 1}).value == {"a": 1}
    assert Content(parts=(text_part("a"), data_part(1), text_part("b"))).text == "a\nb"
    assert plain([1]).content().structured == [1]
    assert EMPTY.value == ""
    assert Part(kind="url", url="https://example.com").kind == "url"


def test_a_page_of_tasks_is_a_body() -> None:
    assert TaskPage(tasks=()).content() is not None


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(), st.lists))
def test_canonical_json_does_not_depend_on_key_order(value: object) -> None:
    one = json_from({"a": value, "b": 1})
    other = json_from({"b": 1, "a": value})
    assert canonical_json(one) == canonical_json(other)


def test_json_accessors_never_raise() -> None:
    assert (json_object([]), json_list({}), json_text(1, "x"), json_text("y")) == ({}, [], "x", "y")


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        secret.__reduce__()


def test_a_chain_of_actors_keeps_who_started_it() -> None:
    ana = principal("ana", roles=frozenset({"support"}))
    workflow = principal("workflow:help", kind="workflow", behind=ana)
    agent = principal("agent:refunds", kind="agent", behind=workflow)
    assert agent.chain == ("ana", "workflow:help", "agent:refunds")
    assert agent.first is ana
    assert agent.agent_class.behind == (ana.roles, workflow.roles)


@pytest.mark.anyio
async def test_an_ignored_event_goes_nowhere() -> None:
    ana = principal("ana")
    assert ana.first is ana
    await ignore_event(None)  # pyright: ignore[reportArgumentType] - whatever it is
