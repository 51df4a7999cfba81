"""What is held back, until when, and what of a listing is shown."""

from dataclasses import replace

import pytest

from gateway.core.errors import Conflict, Denied, NotFound, Unavailable
from gateway.core.json import Json, JsonObject, json_object
from gateway.core.model import Capability
from gateway.core.ports.pinning import PinningMode
from gateway.core.ports.upstream import Listing
from gateway.core.verdict import Allow, Deny
from gateway.testing.stores.pins import MemoryPins
from policies.pinning.keeper import Pinning, Watched
from tests.fakes import ANA, FakeClock, a_request, tool

pytestmark = pytest.mark.anyio


class Bench:
    """A keeper over a store, and everything it told."""

    def __init__(
        self,
        *,
        mode: PinningMode = "first_use",
        tenant: str = "default",
        store: MemoryPins | None = None,
        most: int = 100,
    ) -> None:
        self.store = store or MemoryPins()
        self.changes = 0
        self.relisted: list[str] = []
        self.notes: list[tuple[str, str, JsonObject]] = []
        self.pinning = Pinning(
            self.store,
            FakeClock(),
            on_change=self._changed,
            relist=self.relisted.append,
            note=self._noted,
            most=most,
        )
        self.pinning.configure({"orders": Watched(tenant=tenant, mode=mode)})

    def _changed(self) -> None:
        self.changes += 1

    def _noted(self, tenant: str, operation: str, detail: JsonObject) -> None:
        self.notes.append((tenant, operation, detail))

    async def lists(self, *tools: Capability, instructions: str = "") -> Listing:
        about: dict[str, Json] = {"instructions": instructions} if instructions else {}
        return await self.pinning.inspect("orders", Listing(capabilities=tools, about=about))

    def refusal(self, name: str = "tool:orders/refund") -> Deny | None:
        need = self.pinning.policy().plan(ANA.agent_class, replace(tool(), name=name))
        return need if isinstance(need, Deny) else None


def says(description: str, **more: Json) -> Capability:
    definition: JsonObject = {"name": "refund", "description": description, **more}
    return replace(tool(), definition=definition, description=description, input_schema=_schema(definition))


def _schema(definition: JsonObject) -> JsonObject:
    return json_object(definition.get("inputSchema"))


async def test_what_is_seen_first_is_trusted_and_a_change_is_held_back_until_it_is_approved() -> None:
    bench = Bench()
    await bench.lists(says("Refunds."))
    assert bench.refusal() is None

    await bench.lists(says("Refunds.", annotations={"readOnlyHint": True}))
    refusal = bench.refusal()
    assert refusal is not None
    assert (refusal.policy, refusal.rule) == ("pinning", "changed")
    for word in (
        "annotations",
        "drawbridge tools diff tool:orders/refund",
        "drawbridge tools approve tool:orders/refund",
    ):
        assert word in refusal.reason
    assert [(operation, said["name"]) for _, operation, said in bench.notes] == [("tools.hold", "tool:orders/refund")]

    (view,) = bench.pinning.views("default")
    assert (view.state, view.offered, [each.at for each in view.changes]) == ("changed", True, ["annotations"])
    before = bench.changes
    approved = await bench.pinning.approve("default", view.pin.name, view.pin.seen_digest, by="olga")
    assert (approved.state, approved.pin.approved_by) == ("approved", "olga")
    assert bench.refusal() is None
    assert bench.changes == before + 1


async def test_a_call_is_judged_as_the_plan_has_it_and_told_why() -> None:
    bench = Bench()
    await bench.lists(says("Refunds."))
    assert isinstance(bench.pinning.policy().check_request(a_request(), tool()), Allow)
    await bench.lists(says("Steals."))
    assert bench.pinning.policy().check_request(a_request(), tool()) == bench.refusal()
    assert bench.pinning.held("default", "tool:orders/refund") is not None
    assert bench.pinning.held("default", "tool:orders/other") is None


@pytest.mark.parametrize(("tenant", "told"), [("acme", {"acme"}), ("*", {"acme", "beta"})])
async def test_what_waits_is_told_to_the_tenant_whose_it_is(tenant: str, told: set[str]) -> None:
    bench = Bench(mode="approve", tenant=tenant)
    await bench.lists(says("Refunds."))
    assert bench.refusal() is not None
    assert {each for each in ("acme", "beta") if bench.pinning.held(each, "tool:orders/refund")} == told


async def test_flags_are_those_of_what_was_seen_last_however_often_it_changes() -> None:
    bench = Bench()
    for number in range(4):
        await bench.lists(says(f"Reads ~/.ssh number {number}."))
        (view,) = bench.pinning.views("default")
        assert [(each.rule, each.excerpt) for each in view.flags] == [("files", "~/.ssh")]
    await bench.lists(says("Refunds."))
    assert bench.pinning.views("default")[0].flags == ()


async def test_a_change_that_is_taken_back_is_no_longer_held() -> None:
    bench = Bench()
    for description in ("Refunds.", "Steals.", "Refunds."):
        await bench.lists(says(description))
    assert bench.refusal() is None
    assert bench.pinning.views("default")[0].state == "approved"


async def test_going_and_coming_back_in_another_form_does_not_defeat_a_pin() -> None:
    bench = Bench()
    await bench.lists(says("Refunds."))
    await bench.lists()
    assert bench.pinning.views("default")[0].offered is False
    bench.pinning.configure({})
    bench.pinning.configure({"orders": Watched(tenant="default", mode="first_use")})
    await bench.lists(says("Steals."))
    assert bench.refusal() is not None
    # Nor does another process that starts anew.
    later = Bench(store=bench.store)
    await later.pinning.load()
    await later.lists(says("Steals."))
    assert later.refusal() is not None


async def test_in_mode_approve_what_is_new_waits_as_well_and_stays_so_when_the_mode_is_relaxed() -> None:
    bench = Bench(mode="approve")
    await bench.lists(says("Refunds."), instructions="Be kind.")
    refusal = bench.refusal()
    assert refusal is not None
    assert refusal.rule == "new"
    bench.pinning.configure({"orders": Watched(tenant="default", mode="first_use")})
    await bench.lists(says("Refunds."))
    assert bench.refusal() is not None
    for view in bench.pinning.views("default"):
        await bench.pinning.approve("default", view.pin.name, view.pin.seen_digest, by="olga")
    assert bench.refusal() is None


async def test_a_server_that_is_not_pinned_may_change_and_still_hides_nothing() -> None:
    bench = Bench(mode="off")
    await bench.lists(says("Refunds."))
    listing = await bench.lists(says("Ste\u200bals."))
    assert bench.refusal() is None
    assert listing.capabilities[0].description == "Steals."
    assert bench.pinning.views("default") == ()


async def test_switching_pinning_off_lets_go_of_what_is_held() -> None:
    bench = Bench()
    await bench.lists(says("Refunds."))
    await bench.lists(says("Steals."))
    bench.pinning.configure({"orders": Watched(tenant="default", mode="off")})
    assert bench.refusal() is None


async def test_what_is_not_a_servers_passes_untouched() -> None:
    bench = Bench()
    listing = Listing(capabilities=(replace(tool(owner="else"), description="a\u200b"),))
    assert await bench.pinning.inspect("else", listing) is listing


async def test_what_else_a_listing_says_passes_with_it() -> None:
    page = Capability(name="resource:orders/", kind="resource", owner="orders", local="")
    listing = Listing(capabilities=(), unlisted=page, templates_of=lambda uri: None)
    inspected = await Bench().pinning.inspect("orders", listing)
    assert (inspected.unlisted, inspected.templates_of) == (page, listing.templates_of)


async def test_instructions_stay_as_they_were_trusted_until_others_are_approved() -> None:
    bench = Bench()
    assert (await bench.lists(instructions="Be\u200b kind.")).about["instructions"] == "Be kind."
    assert (await bench.lists(instructions="Be cruel.")).about["instructions"] == "Be kind."
    assert bench.relisted == []
    (view,) = bench.pinning.views("default")
    await bench.pinning.approve("default", "instructions:orders", view.pin.seen_digest, by="olga")
    assert bench.relisted == ["orders"]
    assert (await bench.lists(instructions="Be cruel.")).about["instructions"] == "Be cruel."


async def test_a_listing_reaches_clients_without_hidden_characters_and_its_schemas_agree_with_its_definition() -> None:
    schema: JsonObject = {"properties": {"a": {"description": "x\u202e"}}}
    listing = await Bench().lists(says("Ref\u200bunds.", inputSchema=schema, title="T\u2060"))
    shown = listing.capabilities[0]
    assert shown.definition == {
        "name": "refund",
        "description": "Refunds.",
        "inputSchema": {"properties": {"a": {"description": "x"}}},
        "title": "T",
    }
    assert (shown.title, shown.description, shown.input_schema) == ("T", "Refunds.", shown.definition["inputSchema"])


async def test_a_change_of_hidden_characters_alone_is_a_change() -> None:
    bench = Bench()
    await bench.lists(says("Refunds."))
    await bench.lists(says("Refunds.\u200b"))
    assert bench.refusal() is not None


async def test_what_another_gateway_approves_counts_here_once_it_is_read() -> None:
    bench = Bench()
    other = Bench(store=bench.store)
    for each in (bench, other):
        await each.lists(says("Refunds."))
        await each.lists(says("Refunds more."), instructions="Be kind.")
    await other.pinning.load()
    (_, view) = other.pinning.views("default")
    await other.pinning.approve("default", view.pin.name, view.pin.seen_digest, by="olga")
    assert bench.refusal() is not None
    before = bench.changes
    await bench.pinning.load()
    assert bench.refusal() is None
    assert bench.changes == before + 1


async def test_what_another_gateway_sees_neither_holds_nor_releases_anything_here() -> None:
    bench = Bench()
    other = Bench(store=bench.store)
    await bench.lists(says("Refunds."))
    await bench.lists(says("Steals."))
    await other.pinning.load()
    await other.lists(says("Refunds."))
    await bench.pinning.load()
    assert bench.refusal() is not None
    assert other.refusal() is None


async def test_approving_is_about_what_was_looked_at_and_by_whom_it_belongs_to() -> None:
    bench = Bench(tenant="*")
    await bench.lists(says("Refunds."))
    await bench.lists(says("Steals."))
    (view,) = bench.pinning.views("acme")
    await bench.lists(says("Kills."))
    with pytest.raises(Conflict):
        await bench.pinning.approve("default", view.pin.name, view.pin.seen_digest, by="olga")
    with pytest.raises(Denied):
        await bench.pinning.approve("acme", view.pin.name, view.pin.seen_digest, by="olga")
    with pytest.raises(NotFound):
        await bench.pinning.approve("default", "tool:orders/other", view.pin.seen_digest, by="olga")
    assert bench.refusal() is not None


async def test_a_tenants_pins_are_nobody_elses_to_see() -> None:
    bench = Bench(tenant="acme")
    await bench.lists(says("Refunds."))
    assert bench.pinning.views("default") == ()
    assert [each.pin.name for each in bench.pinning.views("acme", name="tool:orders/refund")] == ["tool:orders/refund"]


async def test_a_server_that_gives_ever_new_names_fills_nothing_and_shows_no_more() -> None:
    bench = Bench(most=2)
    await bench.lists(*(replace(tool(f"t{number}"), definition={"name": f"t{number}"}) for number in range(3)))
    assert len(bench.store.pins) == 2
    assert [bench.refusal(f"tool:orders/t{number}") is None for number in range(3)] == [True, True, False]
    long = replace(tool("n" * 2000), definition={"name": "n"})
    await bench.lists(long)
    assert bench.refusal(long.name) is not None


async def test_without_the_store_nothing_is_shown() -> None:
    class Down(MemoryPins):
        async def see(self, pins: object) -> tuple[()]:
            raise Unavailable("the storage is closed")

    with pytest.raises(Unavailable):
        await Bench(store=Down()).lists(says("Refunds."))


async def test_what_is_not_listed_stays_as_the_server_declares_it() -> None:
    page = Capability(name="resource:orders/", kind="resource", owner="orders", local="")
    method = Capability(name="method:orders/skills/", kind="method", owner="orders", local="skills/")
    listing = Listing(capabilities=(), unlisted=page, methods=(method,))
    assert await Bench().pinning.inspect("orders", listing) == listing
