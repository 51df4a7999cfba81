"""Resources a server has without listing them, as it may, and methods of its own: judged by name like any other."""

from dataclasses import replace

import pytest

from gateway.core.errors import Denied, NotFound
from gateway.core.model import Capability, Complete, Request
from gateway.core.ports.upstream import Listing
from gateway.core.verdict import Allow, Deny, Verdict
from tests.fakes import ANA, FakeUpstream, Path, Says, a_request

pytestmark = pytest.mark.anyio

PAGE = "resource:docs/file:///page"
LIKE = Capability(
    name="resource:docs/", kind="resource", owner="docs", local="", effect="read", tags=frozenset({"pii"})
)


class OnlyPages(Says):
    """Grants by name and tag."""

    def plan(self, agent: object, capability: Capability) -> Verdict:
        if capability.name == PAGE and "pii" in capability.tags:
            return Allow(policy="access", rule="reader.allow[0]", grant=True)
        return Deny(policy="access", rule="", reason="nothing grants it")


def reading(name: str) -> Request:
    return a_request(name, operation="read")


def path(upstream: FakeUpstream, like: Capability | None = LIKE, tenant: str = "default") -> Path:
    around = Path(upstream, policies=[OnlyPages(Deny(policy="access", rule="", reason=""))], tenant=tenant)
    around.shelf.arrived("docs", Listing(capabilities=(), unlisted=like))
    around.pipeline.swap(around.snapshot("2"))
    return around


async def test_it_is_read_where_it_is_granted_and_refused_where_it_is_not() -> None:
    upstream = FakeUpstream("docs")
    around = path(upstream)
    assert isinstance(await around.call(reading(PAGE)), Complete)
    with pytest.raises(Denied):
        await around.call(reading("resource:docs/file:///secret"))
    assert [each.capability for each in upstream.calls] == [PAGE]
    assert around.pipeline.visible(ANA, frozenset({"resource"})) == ()


@pytest.mark.parametrize(
    "name",
    [
        *("resource:other/file:///page", "resource:docs/", "resource:docs", "tool:docs/page"),
        *("resource:docs/a\x00b", f"resource:docs/{'x' * 3000}"),
        *("resource:docs/file:///x/../page", "resource:docs/file:///x/%252e%252E/page"),
        *("resource:docs/FILE:///page", "resource:docs/file:///%70age", "resource:docs/file:/page"),
    ],
)
async def test_what_nobody_could_have_is_not_there(name: str) -> None:
    with pytest.raises(NotFound):
        await path(FakeUpstream("docs")).call(reading(name))


async def test_it_says_from_which_templates_it_may_have_been_made_and_is_not_there_where_nobody_can_tell() -> None:
    made: tuple[str, ...] | None = ("resource:docs/file:///{name}",)
    around = path(FakeUpstream("docs"))
    around.shelf.arrived("docs", Listing(capabilities=(), unlisted=LIKE, templates_of=lambda uri: made))
    around.pipeline.swap(around.snapshot("3"))
    found = around.pipeline.find(ANA, PAGE)
    assert found is not None
    assert found.made_from == made
    made = None
    assert around.pipeline.find(ANA, PAGE) is None


async def test_a_server_without_resources_and_another_tenants_have_none() -> None:
    with pytest.raises(NotFound):
        await path(FakeUpstream("docs"), like=None).call(reading(PAGE))
    elsewhere = path(FakeUpstream("docs"), like=replace(LIKE, tenant="acme"), tenant="acme")
    with pytest.raises(NotFound):
        await elsewhere.call(reading(PAGE))


SKILLS = Capability(name="method:docs/skills/", kind="method", owner="docs", local="skills/")


class OnlySkills(Says):
    """Grants by name."""

    def plan(self, agent: object, capability: Capability) -> Verdict:
        granted = capability.name == f"method:docs/{capability.local}" == "method:docs/skills/list"
        return Allow(policy="access", rule="reader.allow[0]", grant=granted)


def path_with_methods(upstream: FakeUpstream) -> Path:
    around = Path(upstream, policies=[OnlySkills(Deny(policy="access", rule="", reason=""))])
    around.shelf.arrived("docs", Listing(capabilities=(), methods=(SKILLS,)))
    around.pipeline.swap(around.snapshot("2"))
    return around


async def test_a_method_is_a_sink_that_is_granted_by_its_name_and_recorded_before_it_is_sent() -> None:
    upstream = FakeUpstream("docs")
    around = path_with_methods(upstream)
    assert isinstance(await around.call(a_request("method:docs/skills/list", operation="method")), Complete)
    with pytest.raises(Denied):
        await around.call(a_request("method:docs/skills/drop", operation="method"))
    assert [each.capability for each in upstream.calls] == ["method:docs/skills/list"]
    assert [(each.phase, each.capability, each.operation, each.outcome) for each in around.audit.records] == [
        ("intent", "method:docs/skills/list", "method", ""),
        ("outcome", "method:docs/skills/list", "method", "ok"),
        ("outcome", "method:docs/skills/drop", "method", "denied"),
    ]


@pytest.mark.parametrize("name", ["method:docs/skillset/list", "method:docs/tools/list", "method:other/skills/list"])
async def test_a_method_no_declaration_covers_is_not_there(name: str) -> None:
    with pytest.raises(NotFound):
        await path_with_methods(FakeUpstream("docs")).call(a_request(name, operation="method"))
