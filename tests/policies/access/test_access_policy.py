"""What roles grant and deny, through the policy's own door."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from msgspec import structs
from pydantic import TypeAdapter

from gateway.core.content import Content, Plain, plain
from gateway.core.errors import InvalidRequest
from gateway.core.json import Json
from gateway.core.limits import Budget
from gateway.core.model import AgentClass, Capability, CapabilityKind, Operation, Principal, Request, principal
from gateway.core.verdict import Allow, Deny
from policies.access.compiler import Compiler
from policies.access.policy import AccessPolicy
from policies.access.settings import RoleSettings

ROLES: TypeAdapter[dict[str, RoleSettings]] = TypeAdapter(dict[str, RoleSettings])


def access(
    roles: Mapping[str, object], *, grants: Mapping[str, list[str]] | None = None, raw_cedar: str = ""
) -> AccessPolicy:
    return AccessPolicy(
        roles=ROLES.validate_python(roles), lines=lambda path: len(path), grants=grants, raw_cedar=raw_cedar
    )


def capability(name: str, *, tags: tuple[str, ...] = (), kind: CapabilityKind | None = None) -> Capability:
    owner, _, local = name.partition(":")[2].partition("/")
    word = kind or name.partition(":")[0]
    assert word in ("tool", "prompt", "resource", "template", "agent", "workflow")
    return Capability(name=name, kind=word, owner=owner, local=local, tags=frozenset(tags))


def ana(*roles: str, behind: Principal | None = None) -> Principal:
    return principal("ana", roles=frozenset(roles), behind=behind)


def asks(who: Principal, what: str, arguments: Json = None, *, operation: Operation = "call") -> Request:
    return Request(
        id="req_1",
        principal=who,
        capability=what,
        operation=operation,
        budget=Budget(deadline_s=1.0),
        body=plain(arguments),
    )


REFUND = capability("tool:orders/refund")


def test_a_pattern_of_a_role_grants_what_it_names() -> None:
    policy = access({"support": {"allow": ["tool:orders/*"]}})

    assert policy.plan(ana("support").agent_class, REFUND) == Allow(
        policy="access", rule="support.allow[0]", grant=True
    )


def test_what_no_rule_names_is_denied_and_the_reason_names_the_roles() -> None:
    policy = access({"support": {"allow": ["tool:orders/*"]}, "b": {}})

    assert policy.plan(ana("support", "b").agent_class, capability("tool:mail/send")) == Deny(
        policy="access", rule="no-grant", reason="no rule of its roles (b, support) allows it"
    )


def test_without_any_role_nothing_is_granted() -> None:
    assert access({}).plan(ana().agent_class, REFUND) == Deny(
        policy="access", rule="no-grant", reason="it has no role that allows anything"
    )


def test_a_deny_beats_every_allow_of_every_role() -> None:
    policy = access({"a": {"allow": ["*"]}, "b": {"deny": [{"call": "tool:orders/refund", "reason": "ask billing"}]}})

    assert policy.plan(ana("a", "b").agent_class, REFUND) == Deny(
        policy="access", rule="b.deny[0]", reason="ask billing"
    )
    assert isinstance(policy.plan(ana("a").agent_class, REFUND), Allow)


def test_a_capability_of_another_tenant_is_denied_whatever_the_roles_say() -> None:
    policy = access({"a": {"allow": ["*"]}})
    elsewhere = replace(REFUND, tenant="acme")

    denied = policy.plan(ana("a").agent_class, elsewhere)

    assert isinstance(denied, Deny)
    assert denied.rule == "other-tenant"
    assert isinstance(policy.plan(ana("a").agent_class, replace(REFUND, tenant="*")), Allow)


def test_roles_of_those_it_acts_for_take_away_and_never_give() -> None:
    policy = access({"caller": {"allow": ["*"], "deny": ["tool:orders/refund"]}, "agent": {"allow": ["tool:orders/*"]}})
    acting = ana("agent", behind=ana("caller")).agent_class

    denied = policy.plan(acting, REFUND)

    assert denied == Deny(
        policy="access",
        rule="caller.deny[0]",
        reason="role caller of a caller it acts for may not call tool:orders/refund",
    )
    assert isinstance(policy.plan(acting, capability("tool:orders/find")), Allow)
    assert isinstance(policy.plan(acting, capability("tool:mail/send")), Deny)


def test_a_conditional_deny_of_those_it_acts_for_is_judged_on_each_call() -> None:
    policy = access(
        {"caller": {"deny": [{"call": "tool:orders/*", "when": "args.amount > 10"}]}, "agent": {"allow": ["*"]}}
    )
    acting = ana("agent", behind=ana("caller"))

    assert policy.plan(acting.agent_class, REFUND) == "read"
    assert isinstance(policy.check_request(asks(acting, REFUND.name, {"amount": 10}), REFUND), Allow)
    assert policy.check_request(asks(acting, REFUND.name, {"amount": 11}), REFUND) == Deny(
        policy="access",
        rule="caller.deny[0]",
        reason="role caller of a caller it acts for may not call tool:orders/* when args.amount > 10",
    )


CONDITIONAL = {"support": {"allow": [{"call": "tool:orders/refund", "when": "args.amount <= 100"}]}}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"amount": 100}, True),
        ({"amount": 99.9999}, True),
        ({"amount": 100.0000001}, False),
        ({"amount": "100"}, False),
        ({"amount": None}, False),
        ({"amount": [100]}, False),
        ({"amount": True}, False),
        ({"amount": 2**70}, False),
        ({"amount": -(2**70)}, True),
        ({"amount": 1e308}, False),
        ({"amount": float("nan")}, False),
        ({}, False),
        (None, False),
        ([100], False),
        ("amount 100", False),
    ],
)
def test_a_conditional_allow_grants_only_where_its_condition_is_certain(arguments: Json, allowed: bool) -> None:
    policy = access(CONDITIONAL)

    said = policy.check_request(asks(ana("support"), REFUND.name, arguments), REFUND)

    assert isinstance(said, Allow) is allowed
    assert policy.plan(ana("support").agent_class, REFUND) == "read"


@pytest.mark.parametrize("arguments", [{}, {"amount": "500"}, {"amount": None}, {"amount": float("inf")}, 3])
def test_a_conditional_deny_holds_unless_its_condition_is_certainly_false(arguments: Json) -> None:
    policy = access({"s": {"allow": ["*"], "deny": [{"call": "tool:orders/refund", "when": "args.amount > 100"}]}})

    denied = policy.check_request(asks(ana("s"), REFUND.name, arguments), REFUND)

    assert isinstance(denied, Deny)
    assert denied.rule == "s.deny[0]"
    assert isinstance(policy.check_request(asks(ana("s"), REFUND.name, {"amount": 100}), REFUND), Allow)


def test_a_refusal_says_which_argument_is_missing_and_never_a_value() -> None:
    policy = access(CONDITIONAL)

    missing = policy.check_request(asks(ana("support"), REFUND.name, {}), REFUND)
    wrong = policy.check_request(asks(ana("support"), REFUND.name, {"amount": "s3cret"}), REFUND)

    assert missing == Deny(
        policy="access",
        rule="no-grant",
        reason="support.allow[0] allows it only when args.amount <= 100 (args.amount is missing)",
    )
    assert isinstance(wrong, Deny)
    assert wrong.reason.endswith("(args.amount is not a number)")


def test_an_allow_without_condition_makes_conditional_allows_superfluous() -> None:
    policy = access({"s": {"allow": [{"call": "tool:orders/*", "when": "args.a == 1"}, "tag:read"]}})

    assert policy.plan(ana("s").agent_class, capability("tool:orders/x", tags=("read",))) == Allow(
        policy="access", rule="s.allow[1]", grant=True
    )


@pytest.mark.parametrize("operation", ["task.get", "task.list", "task.cancel", "task.subscribe", "complete"])
def test_what_follows_a_granted_call_is_covered_by_its_grant(operation: Operation) -> None:
    policy = access(
        {
            "s": {
                "allow": [{"call": "agent:refunds", "when": "args.amount <= 100"}],
                "deny": [{"call": "agent:*", "when": "args.vip == true"}],
            }
        }
    )
    agent = capability("agent:refunds")

    assert isinstance(policy.check_request(asks(ana("s"), agent.name, operation=operation), agent), Allow)


def test_an_unconditional_deny_reaches_what_follows_a_call_too() -> None:
    policy = access(
        {"s": {"allow": [{"call": "agent:refunds", "when": "args.x == 1"}]}},
        raw_cedar='@id("no-peek") forbid(principal, action, resource) when { context.operation == "task.get" };',
    )
    agent = capability("agent:refunds")

    assert isinstance(policy.check_request(asks(ana("s"), agent.name, operation="task.list"), agent), Allow)
    assert policy.check_request(asks(ana("s"), agent.name, operation="task.get"), agent) == Deny(
        policy="access", rule="cedar.no-peek", reason="a policy written in Cedar forbids it"
    )


def test_a_workflow_is_granted_exactly_its_targets() -> None:
    policy = access({}, grants={"workflow:help": ["agent:refunds", "tool:orders/f*", "workflow:other"]})
    workflow = principal("workflow:help", kind="workflow", roles=frozenset({"workflow:help"}), behind=ana())

    granted = policy.plan(workflow.agent_class, capability("agent:refunds"))

    assert granted == Allow(policy="access", rule="workflow:help.targets[0]", grant=True)
    assert isinstance(policy.plan(workflow.agent_class, capability("tool:orders/f*")), Allow)
    assert isinstance(policy.plan(workflow.agent_class, capability("workflow:other")), Allow)
    assert isinstance(policy.plan(workflow.agent_class, capability("tool:orders/find")), Deny)
    assert isinstance(policy.plan(workflow.agent_class, capability("agent:triage")), Deny)


def test_agents_may_use_the_scratchpad_and_nobody_else_may() -> None:
    tool = capability("tool:run/put")

    assert isinstance(access({}).plan(principal("agent:x", kind="agent").agent_class, tool), Allow)
    assert isinstance(access({}).plan(ana().agent_class, tool), Deny)


def test_an_operator_calls_nothing_unless_a_role_allows_it() -> None:
    policy = access({"admin": {"allow": ["tool:orders/*"]}})

    assert isinstance(policy.plan(principal("root", kind="operator").agent_class, REFUND), Deny)
    granted = principal("root", kind="operator", roles=frozenset({"admin"}))
    assert isinstance(policy.plan(granted.agent_class, REFUND), Allow)


def test_many_plans_say_the_same_as_single_ones() -> None:
    policy = access(
        {"s": {"allow": ["tag:read", {"call": "tool:pay/*", "when": "args.a < 1"}], "deny": ["tool:*/delete"]}}
    )
    many = [
        capability(f"tool:{owner}/{local}", tags=tags)
        for owner in ("pay", "orders")
        for local in ("get", "delete")
        for tags in ((), ("read",))
    ]

    needs = [policy.plan(ana("s").agent_class, each) for each in many]

    fresh = access(
        {"s": {"allow": ["tag:read", {"call": "tool:pay/*", "when": "args.a < 1"}], "deny": ["tool:*/delete"]}}
    )
    assert needs == [fresh.plan(ana("s").agent_class, each) for each in many]
    assert [need if isinstance(need, str) else type(need) for need in needs] == [
        "read",
        Allow,
        Deny,
        Deny,
        Deny,
        Allow,
        Deny,
        Deny,
    ]


TEMPLATE = capability("template:docs/file:///{path}", kind="template")


def reads(uri: Json, *roles: str, operation: Operation = "read") -> Request:
    return asks(ana(*roles), TEMPLATE.name, {"uri": uri} if uri is not None else None, operation=operation)


def test_a_template_under_a_whole_owner_grant_needs_no_look_at_the_uri() -> None:
    policy = access({"s": {"allow": ["resource:docs/**"]}})

    assert isinstance(policy.plan(ana("s").agent_class, TEMPLATE), Allow)
    assert isinstance(policy.check_request(reads("file:///x", "s"), TEMPLATE), Allow)


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("file:///public/a", "s.allow[0]"),
        ("file:///secret/a", "no-grant"),
        ("file:///public/keys", "s.deny[0]"),
        ("file:///public/../secret/a", "odd-uri"),
        ("file:///public/%2e%2E/secret/a", "odd-uri"),
        ("file:///public/%252e%252e%252fsecret/a", "odd-uri"),
        ("file:///public/..\\secret", "odd-uri"),
        ("file:///public/%00", "odd-uri"),
        ("file:///public/%6beys", "odd-uri"),
        ("file:///public/%256beys", "odd-uri"),
        ("FILE:///public/keys", "odd-uri"),
        ("file:/public/keys", "odd-uri"),
        ("file://localhost/public/keys", "odd-uri"),
        ("file:///public//keys", "odd-uri"),
        ("file:///public/keys#", "odd-uri"),
        (" file:///public/keys", "odd-uri"),
        ("file:///public/ke\tys", "odd-uri"),
        ("file:///public/a%20b%C3%BC", "s.allow[0]"),
        (None, "no-uri"),
        (7, "no-uri"),
    ],
)
def test_a_template_is_judged_by_the_resource_it_is_asked_for(uri: Json, rule: str) -> None:
    policy = access({"s": {"allow": ["resource:docs/file:///public/*"], "deny": ["resource:docs/file:///public/key*"]}})

    assert policy.plan(ana("s").agent_class, TEMPLATE) == "read"
    said = policy.check_request(reads(uri, "s"), TEMPLATE)
    assert isinstance(said, Allow if rule == "s.allow[0]" else Deny)
    assert not isinstance(said, str)
    assert said.rule == rule


def test_a_template_no_rule_can_reach_is_hidden() -> None:
    policy = access({"s": {"allow": ["resource:wiki/file:///*"], "deny": ["resource:docs/file:///x"]}})
    everything = access({"s": {"allow": ["resource:docs/file:///x"], "deny": ["resource:docs/*"]}})

    assert isinstance(policy.plan(ana("s").agent_class, TEMPLATE), Deny)
    assert isinstance(everything.plan(ana("s").agent_class, TEMPLATE), Deny)


def test_what_is_not_listed_is_denied_with_any_template_it_may_have_been_made_from() -> None:
    names = ("resource:docs/{+any}", "resource:docs/secret://{id}")
    page = replace(capability("resource:docs/secret://7", kind="resource"), made_from=names)
    rules = [["resource:docs/secret://{id}"], ["resource:docs/other://{id}"], []]
    policies = [access({"s": {"allow": ["resource:docs/*"], "deny": each}}) for each in rules]
    narrow = access({"s": {"allow": ["resource:docs/secret://7"]}})

    said = [policy.plan(ana("s").agent_class, page) for policy in (*policies, narrow)]
    assert [type(each) for each in said] == [Deny, Allow, Allow, Allow], "that nothing grants a template denies nothing"


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        (["tool:docs/read"], [], True),
        (["resource:docs/file:///public/*"], [], True),
        (["agent:docs"], [], True),
        (["*"], [], True),
        (["*"], ["tool:docs/*"], True),
        (["*"], ["*:docs/*"], False),
        (["tool:docs/*"], ["tool:docs/*"], False),
        (["tool:docs/*"], ["tool:docs/secret*"], True),
        (["tool:docs/*"], [{"call": "tool:docs/*", "when": "args.x == 1"}], True),
        (["tool:doc/*"], [], False),
        (["tag:read"], [], False),
        ([], [], False),
    ],
)
def test_of_which_servers_a_class_could_be_granted_something(
    allow: list[object], deny: list[object], expected: bool
) -> None:
    policy = access({"s": {"allow": allow, "deny": deny}})
    assert policy.may_reach(ana("s").agent_class, "docs") is expected
    assert not policy.may_reach(ana("other").agent_class, "docs")


def test_completing_a_templates_arguments_is_covered_by_any_grant_under_it() -> None:
    narrow = access({"s": {"allow": ["resource:docs/file:///public/*"]}})
    whole = access({"s": {"allow": ["resource:docs/*"], "deny": ["resource:docs/file:///secret/*"]}})
    none = access({"s": {"deny": ["resource:docs/file:///secret/*"]}})

    for policy, expected in ((narrow, Allow), (whole, Allow), (none, Deny)):
        assert isinstance(policy.check_request(reads(None, "s", operation="complete"), TEMPLATE), expected)


EXPERT = """
@id("night") forbid(principal, action, resource) when { resource.effect == "sink" && principal.kind == "client" };
"""


def test_cedar_written_by_hand_forbids_over_every_role() -> None:
    policy = access({"s": {"allow": ["*"]}}, raw_cedar=EXPERT)

    assert policy.plan(ana("s").agent_class, REFUND) == Deny(
        policy="access", rule="cedar.night", reason="a policy written in Cedar forbids it"
    )
    assert isinstance(policy.plan(ana("s").agent_class, replace(REFUND, effect="read")), Allow)


def test_cedar_written_by_hand_grants_and_looks_at_arguments() -> None:
    policy = access(
        {},
        raw_cedar="""
        @id("small") permit(principal in Role::"s", action, resource in Pattern::"tool:orders/*") when {
            context has "args.amount:number" && context["args.amount:number"].lessThan(decimal("5.0")) };
        @id("dry") permit(principal in Role::"s", action, resource in Tag::"x") when { context.phase == "propose" };
        """,
    )
    tagged = capability("tool:mail/send", tags=("x",))

    assert policy.plan(ana("s").agent_class, REFUND) == "read"
    assert policy.check_request(asks(ana("s"), REFUND.name, {"amount": 4}), REFUND) == Allow(
        policy="access", rule="cedar.small", grant=True
    )
    assert isinstance(policy.check_request(asks(ana("s"), REFUND.name, {"amount": 5}), REFUND), Deny)
    assert isinstance(
        policy.check_request(structs.replace(asks(ana("s"), tagged.name), phase="propose"), tagged), Allow
    )


def test_cedar_that_asks_for_the_envelope_only_spares_the_body() -> None:
    policy = access(
        {"s": {"allow": ["*"]}},
        raw_cedar='@id("p") forbid(principal, action, resource) when { context.untrusted.contains("server:web") };',
    )

    assert policy.plan(ana("s").agent_class, REFUND) == "check"


def test_templates_meet_cedar_written_by_hand_resource_by_resource() -> None:
    policy = access(
        {},
        raw_cedar='@id("one") permit(principal in Role::"s", action, resource) when { resource.local == "file:///a" };',
    )

    assert policy.plan(ana("s").agent_class, TEMPLATE) == "read"
    assert isinstance(policy.check_request(reads("file:///a", "s"), TEMPLATE), Allow)
    assert isinstance(policy.check_request(reads("file:///b", "s"), TEMPLATE), Deny)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("permit(", "cannot be read"),
        ("permit(principal, action, resource);", "@id"),
        ('@id("a") permit(principal, action, resource); @id("a") forbid(principal, action, resource);', "two"),
        ('@id("a") permit(principal == ?principal, action, resource);', "template"),
        ('@id("a") permit(principal, action, resource) when { resource.colour == "red" };', "schema"),
        ('@id("a") permit(principal, action, resource) when { context["args.a:number"] == decimal("1.0") };', "schema"),
        ('@id("a") permit(principal, action, resource) when { context has "args.a:money" };', "context has no"),
        ('@id("a") permit(principal, action, resource) when { context has "args.:number" };', "names no argument"),
        (
            '@id("a") permit(principal, action, resource) when { context has "has args.a and has args.b" };',
            "more than one",
        ),
        ('@id("a") forbid(principal, action, resource) when { context has "args.amount" };', "args.NAME:TYPE"),
        ('@id("a") permit(principal, action, resource in Pattern::"orders");', "no pattern"),
    ],
)
def test_cedar_that_does_not_fit_is_refused_at_once(raw: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        access({}, raw_cedar=raw)

    assert says in refused.value.message


def test_a_name_that_tries_to_break_out_of_its_quotes_stays_a_name() -> None:
    policy = access({'a" || true || "': {"allow": ["tool:orders/x"]}}, grants={"w": ['tool:o/"] || true || ["']})

    assert isinstance(policy.plan(ana('a" || true || "').agent_class, capability("tool:orders/x")), Allow)
    assert isinstance(policy.plan(ana("a").agent_class, capability("tool:orders/x")), Deny)
    assert isinstance(policy.plan(ana("w").agent_class, capability('tool:o/"] || true || ["')), Allow)
    assert isinstance(policy.plan(ana("w").agent_class, capability("tool:o/x")), Deny)


def test_two_rules_with_one_id_are_refused() -> None:
    rules = access({"a": {"allow": ["*"]}}).compiler.rules

    with pytest.raises(InvalidRequest):
        Compiler(rules=[*rules, *rules], experts=())


def test_what_cedar_cannot_evaluate_is_denied_though_a_role_allows_it() -> None:
    policy = access(
        {"s": {"allow": ["*"]}},
        raw_cedar='@id("o") forbid(principal, action, resource) when { 9223372036854775807 + 1 == 0 };',
    )

    assert policy.plan(ana("s").agent_class, REFUND) == Deny(
        policy="access", rule="cedar-error", reason="the rules could not be evaluated for this call"
    )


def test_what_cedar_cannot_evaluate_for_one_call_denies_that_call() -> None:
    policy = access(
        {"s": {"allow": ["*"]}},
        raw_cedar="""
        @id("o") forbid(principal, action, resource) when {
            context.phase == "commit" && 9223372036854775807 + 1 == 0 };
        """,
    )
    plainly = asks(ana("s"), REFUND.name)

    assert isinstance(policy.check_request(plainly, REFUND), Allow)
    said = policy.check_request(structs.replace(plainly, phase="commit"), REFUND)
    assert isinstance(said, Deny)
    assert said.rule == "cedar-error"


def test_decisions_are_kept_within_bounds_and_stay_right() -> None:
    whole = access({"s": {"allow": ["tool:a/*"]}})
    compiler = Compiler(rules=whole.compiler.rules, experts=(), most_kept=1)

    for _ in range(2):
        for name, expected in (("tool:a/x", Allow), ("tool:b/x", Deny), ("tool:a/y", Allow)):
            assert isinstance(compiler.compiled(ana("s").agent_class, capability(name)).settled, expected)


def test_a_refusal_speaks_of_the_allow_that_came_closest() -> None:
    policy = access(
        {
            "a": {"deny": [{"call": "tool:orders/*", "when": "args.vip == true"}]},
            "b": {"allow": ["agent:*", {"call": "tool:orders/*", "when": "args.amount < 5"}]},
        }
    )

    said = policy.check_request(asks(ana("a", "b"), REFUND.name, {"vip": False, "amount": 9}), REFUND)

    assert isinstance(said, Deny)
    assert said.reason == "b.allow[1] allows it only when args.amount < 5"
    assert policy.name == "access"


@pytest.mark.parametrize("value", ["\ud800", ["x", "\udfff"], ["x", 1], [["x"]]])
def test_half_a_character_or_a_mixed_list_decides_nothing(value: Json) -> None:
    rule = {"call": "*", "when": "args.a == 'x' or args.a contains 'x'"}
    policy = access({"s": {"allow": [rule]}, "d": {"allow": ["*"], "deny": [rule]}})

    assert isinstance(policy.check_request(asks(ana("s"), REFUND.name, {"a": value}), REFUND), Deny)
    assert isinstance(policy.check_request(asks(ana("d"), REFUND.name, {"a": value}), REFUND), Deny)


def test_arguments_that_cannot_be_read_stop_the_call() -> None:
    class Broken:
        size_bytes = 1

        def content(self) -> Content:
            raise InvalidRequest("not JSON")

    request = structs.replace(asks(ana("support"), REFUND.name), body=Broken())

    with pytest.raises(InvalidRequest):
        access(CONDITIONAL).check_request(request, REFUND)


def test_a_call_that_needs_no_reading_is_never_read() -> None:
    class Unread(Plain):
        def content(self) -> Content:
            raise AssertionError("read")

    request = structs.replace(asks(ana("s"), REFUND.name), body=Unread(Content()))

    assert isinstance(access({"s": {"allow": ["*"]}}).check_request(request, REFUND), Allow)


def test_classes_of_callers_do_not_share_decisions() -> None:
    policy = access({"a": {"allow": ["*"]}})
    granted = ana("a").agent_class
    denied = AgentClass(tenant="default", kind="client", roles=frozenset())

    assert isinstance(policy.plan(granted, REFUND), Allow)
    assert isinstance(policy.plan(denied, REFUND), Deny)
