"""The built-in server `run`: an agent's way to the scratchpad of the run it works for, and of no use outside a step."""

import json
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from types import MappingProxyType

from gateway.core.catalog import EVERY_TENANT
from gateway.core.content import Content, Plain, text_part
from gateway.core.errors import Conflict, Denied, InvalidRequest
from gateway.core.json import Json, JsonObject, canonical_json, json_object, json_text
from gateway.core.labels import Labels, labels_from_json
from gateway.core.model import Capability, Complete, Emit, Request, Result
from gateway.core.ports.journal import Journal, ScratchStore
from gateway.core.ports.runs import RunStore
from gateway.core.ports.scratchpad import Entry
from gateway.core.ports.storage import OpenSteps
from gateway.core.ports.upstream import Listing
from gateway.core.ports.world import Clock
from gateway.orchestration.messages.earlier_turns import PARTS, fetched_turn
from gateway.orchestration.messages.fetching import handed_of, part_of
from gateway.orchestration.messages.memories import TAG_CHARS, TAGS_AT_MOST, TEXT_CHARS, Memories
from gateway.orchestration.settings.workflow import KeySettings, keys_from
from gateway.orchestration.step.remembering import ADD, FOUND_AT_MOST, QUERY_CHARS, SEARCH, MemoryTools
from gateway.orchestration.step.scratchpad import entry_to_json
from gateway.orchestration.step.scratchpad_rules import refuse_reader, refuse_writer

NAME = "run"
CLAIM_S = 60.0
CLAIM_AT_MOST_S = 3600.0
_KEY: JsonObject = {"type": "string", "minLength": 1, "maxLength": 200}


def _tool(name: str, description: str, properties: JsonObject, required: list[Json], *tags: str) -> Capability:
    schema: JsonObject = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    definition: JsonObject = {
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": "read" in tags, "openWorldHint": False},
    }
    return Capability(
        name=f"tool:{NAME}/{name}",
        kind="tool",
        owner=NAME,
        local=name,
        tenant=EVERY_TENANT,
        title=name,
        description=description,
        definition=definition,
        input_schema=schema,
        # A write to the run's own scratchpad changes nothing outside: steps that only propose may make it too.
        effect="read",
        tags=frozenset({"scratchpad", *tags} if "memory" not in tags else tags),
        digest=sha256(canonical_json(definition)).hexdigest(),
    )


TOOLS: tuple[Capability, ...] = (
    _tool(
        "scratchpad_get",
        "What stands under a key of the run's scratchpad, with its version; version 0: nothing stands there.",
        {"key": _KEY},
        ["key"],
        "read",
    ),
    _tool(
        "scratchpad_put",
        "Write a key of the run's scratchpad, if it is still at the version you saw (0: nothing stands there).",
        {"key": _KEY, "value": {}, "expected_version": {"type": "integer", "minimum": 0}},
        ["key", "value", "expected_version"],
    ),
    _tool(
        "claim",
        "Claim something outside (account:4711) for this run; false while another run holds it.",
        {"resource": _KEY, "seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": CLAIM_AT_MOST_S}},
        ["resource"],
    ),
    _tool(
        "fetch_result",
        "A result this step was handed as a summary or reference: all of it, or what a JSON Pointer (/lines/0) names.",
        {
            "step": {**_KEY, "description": "The name under which it was handed over."},
            "pointer": {"type": "string", "maxLength": 1000},
            "offset": {"type": "integer", "minimum": 0, "description": "Of a long text: where to go on."},
        },
        ["step"],
        "read",
    ),
    _tool(
        "fetch_turn",
        "An earlier turn of the conversation that this step was told a part of (`cut_bytes`): all of it, in pieces.",
        {
            "run": {**_KEY, "description": "As `history` names it."},
            "part": {"enum": [*PARTS]},
            "offset": {"type": "integer", "minimum": 0, "description": "Where to go on."},
        },
        ["run", "part"],
        "read",
    ),
    _tool("release", "Give back what this run claimed.", {"resource": _KEY}, ["resource"]),
)

MEMORY_TOOLS: tuple[Capability, ...] = (
    _tool(
        SEARCH,
        "What earlier steps and runs of workflows with this memory found worth remembering, the best fit first.",
        {
            "query": {"type": "string", "minLength": 1, "maxLength": QUERY_CHARS},
            "limit": {"type": "integer", "minimum": 1, "maximum": FOUND_AT_MOST},
        },
        ["query"],
        "read",
        "memory",
    ),
    _tool(
        ADD,
        "Have later steps and runs remember this: one fact or finding, in words they will search for.",
        {
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS},
            "tags": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": TAG_CHARS},
                "maxItems": TAGS_AT_MOST,
            },
        },
        ["text"],
        "memory",
    ),
)
"""There where a workflow has a memory, for agents at work for it."""

_Act = Callable[[Request, Mapping[str, KeySettings], JsonObject], Awaitable[JsonObject]]


class RunServer:
    """See `ports.upstream.Upstream`. Every tool acts on the run the caller's token belongs to, and on no other."""

    def __init__(
        self,
        *,
        scratch: ScratchStore,
        runs: RunStore,
        clock: Clock,
        journal: Journal,
        open_steps: OpenSteps,
        memories: Memories,
    ) -> None:
        self._scratch = scratch
        self._runs = runs
        self._clock = clock
        self._journal = journal
        self._open_steps = open_steps
        self._memory = MemoryTools(memories)
        self._acts: Mapping[str, _Act] = MappingProxyType(
            {
                "scratchpad_get": self._get,
                "scratchpad_put": self._put,
                "claim": self._claim,
                "release": self._release,
                "fetch_result": self._fetch,
                "fetch_turn": self._fetch_turn,
            }
        )

    @property
    def name(self) -> str:
        return NAME

    async def capabilities(self) -> Listing:
        return Listing(capabilities=(*TOOLS, *MEMORY_TOOLS), about={"title": "The run you work for"})

    async def call(self, request: Request, capability: Capability, emit: Emit) -> Result:
        act, remembers = self._acts.get(capability.local), capability.local in (SEARCH, ADD)
        if (act is None and not remembers) or request.operation != "call":
            raise InvalidRequest(f"the server {NAME} has no {request.operation} of {capability.local}")
        if not request.run_id or not request.step_id:
            raise Denied("only an agent at work on a step of a run has a scratchpad: use the step's token")
        run = await self._runs.find(request.principal.tenant, request.run_id)
        if run is None:
            raise Denied("the run of this token is not there any more")
        keys = keys_from(json_object(dict(run.spec).get("settings")))
        given = json_object(request.body.content().structured)
        try:
            if act is None:
                said = await self._memory.act(capability.local, request, run, given)
            else:
                said = await act(request, keys, given)
        except Conflict as conflict:
            said: JsonObject = {"error": conflict.message, **conflict.detail}
            return _answer(said, request.labels, is_error=True)
        return _answer(said, request.labels.join(labels_from_json(said.get("labels"))))

    async def aclose(self) -> None:
        """Holds nothing."""

    async def _get(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        key = _text(given, "key")
        refuse_reader(keys, key, _slug(request))
        entry = await self._scratch.get(request.run_id, key)
        return {"key": key, "version": 0} if entry is None else entry_to_json(entry)

    async def _put(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        key, expected = _text(given, "key"), given.get("expected_version")
        if not isinstance(expected, int) or "value" not in given:
            raise InvalidRequest("give `value`, and as `expected_version` the version you saw, 0 for none")
        refuse_writer(keys, key, _slug(request), given["value"])
        entry = Entry(key=key, value=given["value"], version=0, writer=request.step_id, labels=request.labels)
        # Written again with the same version by an agent that was restarted, it is the same write.
        named = json.dumps([request.step_id, key, expected, given["value"]], sort_keys=True)
        once = f"put {sha256(named.encode()).hexdigest()}"
        return entry_to_json(await self._scratch.put(request.run_id, entry, expected_version=expected, once=once))

    async def _claim(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        resource, seconds = _text(given, "resource"), given.get("seconds", CLAIM_S)
        if not isinstance(seconds, int | float) or not 0 < seconds <= CLAIM_AT_MOST_S:
            raise InvalidRequest(f"`seconds` is above 0 and at most {CLAIM_AT_MOST_S:.0f}")
        now_us = self._clock.now_us()
        claimed = await self._scratch.claim(
            request.principal.tenant,
            request.run_id,
            resource,
            until_us=now_us + int(seconds * 1e6),
            now_us=now_us,
        )
        return {"resource": resource, "claimed": claimed}

    async def _release(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        resource = _text(given, "resource")
        await self._scratch.release(request.principal.tenant, request.run_id, resource)
        return {"resource": resource, "released": True}

    async def _fetch(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        name, pointer, offset = _text(given, "step"), json_text(given.get("pointer")), _offset(given)
        step = self._open_steps.find(request.run_id, request.step_id)
        handed = {each.name: each for each in step.given} if step is not None else {}
        if name not in handed:
            raise Denied(f"this step was not handed a result called {name}: {', '.join(handed) or 'none'}")
        # A step that was tried again is recorded again: the latest counts of those that were handed on.
        attempts = await self._journal.attempts(request.run_id, handed[name].step_id)
        result = next((each for each in attempts if "value" in each and each.get("ok") is not False), None)
        if result is None:
            raise InvalidRequest(f"the result of {name} is not recorded")
        value = handed_of(result["value"], handed[name])
        return {"step": name, **part_of(value, pointer, offset), "labels": result.get("labels")}

    async def _fetch_turn(self, request: Request, keys: Mapping[str, KeySettings], given: JsonObject) -> JsonObject:
        named, part, offset = _text(given, "run"), json_text(given.get("part")), _offset(given)
        run = await self._runs.find(request.principal.tenant, request.run_id)
        if run is None:
            raise Denied("the run of this token is not there any more")
        return await fetched_turn(self._runs, run, named, part, offset)


def _offset(given: JsonObject) -> int:
    offset = given.get("offset", 0)
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise InvalidRequest("`offset` is a number from 0 upwards")
    return offset


def _slug(request: Request) -> str:
    return request.principal.subject.partition(":")[2] or request.principal.subject


def _text(given: JsonObject, name: str) -> str:
    value = json_text(given.get(name))
    if not 0 < len(value) <= 200:
        raise InvalidRequest(f"`{name}` is a text of 1 to 200 characters")
    return value


def _answer(said: JsonObject, labels: Labels, *, is_error: bool = False) -> Complete:
    body = Plain(Content(parts=(text_part(json.dumps(said, ensure_ascii=False)),), structured=said))
    return Complete(body=body, is_error=is_error, labels=labels)
