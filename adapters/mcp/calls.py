"""From a JSON-RPC request to a `Request` on the one path, and from what came of it to the client's answer.

Decides nothing about who may do what; a name nobody knows goes on its way too, so that it is recorded.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Raw, structs

from adapters.mcp.asking import MOST_ROUNDS, PATIENCE_S, ask, questions_to, replied, resumed
from adapters.mcp.classify import Message
from adapters.mcp.entries import Entry
from adapters.mcp.exchange import Exchange
from adapters.mcp.extensions import KIND
from adapters.mcp.headers import param_headers
from adapters.mcp.knock import Knock
from adapters.mcp.presets import Preset
from adapters.mcp.refusals import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    RESOURCE_NOT_FOUND,
    RpcRefusal,
    error_result,
    lacks_scope,
    refusal_from,
    retry_after,
    scope_refusal,
)
from adapters.mcp.render import result_bytes
from adapters.mcp.revisions import in_words_of
from adapters.mcp.sent_headers import as_sent, check_param_headers, sent_on, traceparent_of
from adapters.mcp.sessions import Session
from adapters.mcp.tasks import EXTENSION, TASK_ID, parts_of
from adapters.mcp.tasks import OPERATIONS as TASKS
from adapters.mcp.uris import Outward, rewritten_result
from adapters.mcp.views import View
from adapters.mcp.wire import (
    MethodParams,
    Params,
    ReadParams,
    SaidBefore,
    as_text,
    askable,
    decode_strictly,
    decode_value,
    encode,
)
from gateway.core.asked import ASKABLE
from gateway.core.errors import GatewayError, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import JsonObject, json_from, json_object, json_text
from gateway.core.limits import Budget, Limits
from gateway.core.model import Emit, InputRequired, Operation, Request, Result
from gateway.core.ports.gateway import Gateway, Identity
from gateway.core.ports.world import Clock, Ids

KEY_LENGTH = 256
"""Longest idempotency key, characters."""
FOLLOWED_S = 30 * 86_400.0
"""No stream that tells of changes lives longer."""
USUAL_LOG_LEVEL = "info"
"""What a legacy client that never set a level is sent by a server that wants to be told one."""

OPERATIONS: dict[str, Operation] = {
    "tools/call": "call",
    "prompts/get": "get",
    "resources/read": "read",
    "completion/complete": "complete",
    **TASKS,
}

_BODIES: dict[Operation, type[Params]] = {"read": ReadParams, "method": MethodParams}
_NAMED: frozenset[Operation] = frozenset({"call", "get"})
"""Operations on what has a name, answered with content."""
_LISTED: Mapping[str, Literal["tools", "prompts"]] = {"tools/call": "tools", "prompts/get": "prompts"}
"""By method, where what it names is listed."""


class Calls:
    """Runs what reaches a capability."""

    def __init__(self, *, gateway: Gateway, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._gateway = gateway
        self._clock = clock
        self._ids = ids
        self._limits = limits

    async def run(self, knock: Knock, view: View, exchange: Exchange) -> None:
        """Run the call and send its answer. Raises: RpcRefusal: there is none."""
        message = knock.message
        operation, asked = OPERATIONS.get(message.method, "method"), as_text(message.params.get("uri")) or ""
        name, entry = self._target(knock, view)
        request = self._request(knock, operation, name, entry)
        if entry is not None and entry.capability.kind == "workflow":
            request = structs.replace(request, meta=_asking(knock, exchange))
        exchange.calling(knock, request.budget.deadline_s)
        session = knock.session
        if session is not None:
            if message.id in session.calls:
                raise RpcRefusal(INVALID_PARAMS, "a request with this id is under way", http=400)
            session.calls[message.id] = exchange
        try:
            if entry is not None and entry.preset is not None:
                request = _settled(request, entry.preset)
            outward = None if entry is None else view.outward(entry.capability.owner)
            result = await self._called(request, knock, exchange, entry, outward)
            raw = _rendered(result, operation, knock, outward)
        except GatewayError as error:
            if lacks_scope(error):
                raise scope_refusal(error) from error
            if operation != "call" or _relayed(error) or isinstance(error, NotFound) or "member" in error.detail:
                refusal = _refused(knock, operation, error, asked)
                raise _with_others(refusal, knock, view) if isinstance(error, NotFound) else refusal from error
            await exchange.answer(error_result(error, knock.era), retry_after(error))
            return
        finally:
            if session is not None:
                session.calls.pop(message.id, None)
        await exchange.answer(raw)

    async def follow(self, knock: Knock, view: View, uri: str, emit: Emit) -> None:
        """Have the changes of a resource told, until canceled. Raises: GatewayError: it is not to be had."""
        name, entry, own = view.resource(uri)
        request = self._request(knock, "subscribe", name, entry)
        members = {"uri": Raw(encode(own))}
        body = ReadParams(members, era=knock.era, said_before=_said_before(knock.session))
        budget = structs.replace(request.budget, deadline_s=self._clock.monotonic_s() + FOLLOWED_S)
        await self._gateway.call(structs.replace(request, body=body, budget=budget), emit)

    async def of_task(self, knock: Knock, view: View, task_id: str, operation: Operation, emit: Emit) -> Result:
        """What is asked of a task beside the requests of its caller. Raises: RpcRefusal: no id of one; GatewayError."""
        name, entry = self._tool_of(view, task_id)
        request = self._request(knock, operation, name, entry)
        members = {TASK_ID: Raw(encode(task_id)), "_meta": knock.message.params["_meta"]}
        budget = request.budget
        if operation == "task.subscribe":
            budget = structs.replace(budget, deadline_s=self._clock.monotonic_s() + FOLLOWED_S)
        request = structs.replace(request, body=Params(members, era=knock.era), budget=budget)
        return await self._gateway.call(request, emit)

    async def _called(
        self, request: Request, knock: Knock, exchange: Exchange, entry: Entry | None, outward: Outward | None
    ) -> Result:
        """The result, once a legacy client has been asked whatever the server wanted to know before it."""
        result = await self._gateway.call(request, exchange.emit)
        session = knock.session
        for _ in range(MOST_ROUNDS):
            if session is None or not isinstance(result, InputRequired):
                break
            questions = questions_to(session, exchange, result, outward)
            if not questions:
                break
            exchange.calling(knock, self._clock.monotonic_s() + PATIENCE_S)
            asked = await ask(questions, session, exchange)
            budget = structs.replace(request.budget, deadline_s=self._deadline_s(knock.identity, entry))
            exchange.calling(knock, budget.deadline_s)
            request = resumed(request, result.state, asked, self._ids.new("req"), budget)
            result = await self._gateway.call(request, exchange.emit)
        return result

    def _target(self, knock: Knock, view: View) -> tuple[str, Entry | None]:
        params, method = knock.message.params, knock.message.method
        if method == "completion/complete":
            return self._completed(knock, view)
        if method not in OPERATIONS:
            return f"{KIND}:{knock.scope}/{method}", None
        if method in TASKS:
            return self._with_task(knock, view)
        if method == "resources/read":
            uri = _required(knock.message, "uri")
            name, entry, own = view.resource(uri)
            if own != uri:
                params["uri"] = Raw(encode(own))
            return name, entry
        if method == "prompts/get":
            return view.capability("prompts", _required(knock.message, "name"))
        name, entry = view.capability("tools", _required(knock.message, "name"))
        arguments = params.get("arguments")
        if arguments is not None and bytes(arguments)[:1] != b"{":
            if bytes(arguments) != b"null":
                raise RpcRefusal(INVALID_PARAMS, "arguments must be an object")
            del params["arguments"]
        if entry is not None and entry.mirrors and knock.era == "modern" and not knock.wrapped:
            check_param_headers(knock, entry)
        return name, entry

    def _completed(self, knock: Knock, view: View) -> tuple[str, Entry | None]:
        """Whose argument is to be completed."""
        params = knock.message.params
        reference = json_object(decode_value(bytes(params.get("ref", Raw(b"null")))))
        kind = json_text(reference.get("type"))
        if kind == "ref/prompt":
            name, entry = view.capability("prompts", json_text(reference.get("name")))
        elif kind == "ref/resource":
            uri = json_text(reference.get("uri"))
            name, entry, own = view.template(uri)
            reference["uri"] = own
        else:
            raise RpcRefusal(INVALID_PARAMS, "ref must name a prompt or a resource")
        # As they were read here: of a member that comes twice, its server might read the other.
        params["ref"] = Raw(encode(reference))
        argument = decode_value(bytes(params.get("argument", Raw(b"null"))))
        if "argument" in params:
            params["argument"] = Raw(encode(argument))
        if entry is not None:
            if entry.preset is not None and json_object(argument).get("name") in entry.preset.hidden:
                raise RpcRefusal(INVALID_PARAMS, "there is no such argument")
            about = self._gateway.about(entry.capability.owner).get("capabilities")
            if isinstance(about, dict) and "completions" not in about:
                raise RpcRefusal(METHOD_NOT_FOUND, "its server offers no completions")
        return name, entry

    def has_tasks(self, knock: Knock, view: View) -> bool:
        """Whether any server the caller sees here has tasks. Raises: RpcRefusal: the client says nothing of them."""
        if knock.era == "legacy" or not self._offered(view, EXTENSION):
            return False
        declared = json_object(decode_value(bytes(knock.message.meta.capabilities)))
        if EXTENSION not in json_object(declared.get("extensions")):
            needed: JsonObject = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
            raise RpcRefusal(MISSING_CAPABILITY, "this needs a client that declares tasks", data=needed)
        return True

    def _with_task(self, knock: Knock, view: View) -> tuple[str, Entry | None]:
        """The tool whose task is asked about."""
        if not self.has_tasks(knock, view):
            raise RpcRefusal(METHOD_NOT_FOUND, "Method not found", data=knock.message.method)
        return self._tool_of(view, _required(knock.message, TASK_ID))

    def _tool_of(self, view: View, task_id: str) -> tuple[str, Entry | None]:
        try:
            name = parts_of(task_id)[0]
        except InvalidRequest as error:
            raise RpcRefusal(INVALID_PARAMS, error.message) from error
        entry = next((each for each in view.entries("tools").values() if each.capability.name == name), None)
        return name, entry

    def _offered(self, view: View, extension: str) -> bool:
        """Whether any server the caller sees here declares the extension."""
        owners = {entry.capability.owner for entry in view.entries("tools").values()}
        declared = [json_object(json_from(self._gateway.about(owner)).get("capabilities")) for owner in owners]
        return any(extension in json_object(each.get("extensions")) for each in declared)

    def _request(self, knock: Knock, operation: Operation, name: str, entry: Entry | None) -> Request:
        message, identity = knock.message, knock.identity
        meta = message.meta
        key = as_text(meta.idempotency_key) or ""
        if len(key) > KEY_LENGTH:
            raise RpcRefusal(INVALID_PARAMS, "the idempotency key is too long")
        return Request(
            id=self._ids.new("req"),
            principal=identity.principal,
            capability=name,
            operation=operation,
            budget=Budget(deadline_s=self._deadline_s(identity, entry)),
            body=_BODIES.get(operation, Params)(
                message.params,
                era=knock.era,
                size_bytes=message.size_bytes,
                headers=sent_on(knock, operation, entry) if knock.era == "modern" else (),
                said_before=_said_before(knock.session),
            ),
            protocol="mcp",
            labels=identity.labels,
            traceparent=traceparent_of(knock) or identity.traceparent,
            run_id=identity.run_id,
            step_id=identity.step_id,
            phase=identity.phase,
            idempotency_key=key,
            credential=identity.credential,
            continuation=as_text(message.params.get("requestState")) or "",
        )

    def _deadline_s(self, identity: Identity, entry: Entry | None) -> float:
        allowed_s = self._limits.call_timeout_s
        if entry is not None:
            if entry.capability.kind == "workflow":
                allowed_s = self._limits.run_timeout_s
            if entry.capability.timeout_s is not None:
                allowed_s = entry.capability.timeout_s
        if identity.deadline_at_us:
            allowed_s = min(allowed_s, (identity.deadline_at_us - self._clock.now_us()) / 1_000_000)
        return self._clock.monotonic_s() + max(0.0, allowed_s)


def _asking(knock: Knock, exchange: Exchange) -> JsonObject:
    """What a caller can be asked, and what it answers: in its own words, for a run, which speaks no protocol."""
    session = knock.session
    if session is None:
        said = json_object(decode_value(bytes(knock.message.meta.capabilities) or b"{}"))
    else:
        # It is asked on the stream of its call, and has none otherwise.
        said = session.capabilities if exchange.accepts_sse else {}
    meta: JsonObject = {ASKABLE: askable(said)}
    return {**meta, **replied(knock.message.params)}


def _settled(request: Request, preset: Preset) -> Request:
    """The request with the arguments a set has settled. Raises: InvalidRequest: the caller's own are wrong."""
    body = request.body
    if not isinstance(body, Params) or request.operation == "complete" or request.operation.startswith("task."):
        return request
    raw = body.members.get("arguments")
    arguments = preset.filled({} if raw is None else json_object(decode_strictly(bytes(raw))))
    body = body.with_members({**body.members, "arguments": Raw(encode(arguments))})
    if preset.mirrors and body.era == "modern":
        body.headers = as_sent(param_headers(preset.mirrors, arguments))
    return structs.replace(request, body=body)


def _refused(knock: Knock, operation: Operation, error: GatewayError, asked: str) -> RpcRefusal:
    """`asked` is the URI as the client said it, where it named one."""
    refusal = refusal_from(error)
    if operation == "read" and _not_found(error, refusal):
        refusal.code = INVALID_PARAMS if knock.era == "modern" else RESOURCE_NOT_FOUND
        if refusal.data is None or isinstance(refusal.data, dict):
            refusal.data = {**(refusal.data or {}), "uri": asked}
        if not _relayed(error):
            refusal.message = "Resource not found"
    elif operation in _NAMED and isinstance(error, NotFound) and not _relayed(error) and "name" in knock.message.params:
        named = as_text(knock.message.params["name"])
        refusal.message = f"Unknown {'tool' if operation == 'call' else 'prompt'}: {named}"
    return refusal


def _with_others(refusal: RpcRefusal, knock: Knock, view: View) -> RpcRefusal:
    """The refusal of a name nobody knows here, with those that are meant perhaps."""
    kind = _LISTED.get(knock.message.method)
    others = "" if kind is None else view.instead(kind, as_text(knock.message.params.get("name")) or "")
    refusal.message += f"; {others}" if others else ""
    return refusal


def _not_found(error: GatewayError, refusal: RpcRefusal) -> bool:
    """Whether a resource is not there, by the word of the gateway or of a server of either era."""
    if not _relayed(error):
        return isinstance(error, NotFound)
    return refusal.code == RESOURCE_NOT_FOUND or (refusal.code == INVALID_PARAMS and "uri" in json_object(refusal.data))


def _relayed(error: GatewayError) -> bool:
    """Whether it is a server's own error rather than one about it: that is told as the server said it."""
    return isinstance(error.detail.get("upstream"), dict)


def _rendered(result: Result, operation: Operation, knock: Knock, outward: Outward | None) -> bytes:
    """The result in the words of the client's revision, with URIs as they are said here."""
    try:
        raw = result_bytes(result, operation, knock.era)
        if outward is not None:
            raw = rewritten_result(raw, outward)
        if knock.session is None or operation not in _NAMED:
            return raw
        return in_words_of(knock.session.version, raw)
    except InvalidRequest as error:
        raise UpstreamFailed("the server's answer is not a valid result") from error


def _said_before(session: Session | None) -> SaidBefore | None:
    if session is None:
        return None
    return SaidBefore(
        capabilities=session.capabilities,
        log_level=session.log_level or USUAL_LOG_LEVEL,
        level_set=session.log_level,
        client=session.ear,
        roots=session.roots,
    )


def _required(message: Message, key: Literal["name", "uri", "taskId"]) -> str:
    value = as_text(message.params.get(key))
    if value is None:
        raise RpcRefusal(INVALID_PARAMS, f"{key} must be a string")
    return value
