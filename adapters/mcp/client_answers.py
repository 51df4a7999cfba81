"""From what an MCP server answered to what the gateway's core calls a result or an error. No I/O."""

from msgspec import Raw

from adapters.mcp.client_seal import Seal
from adapters.mcp.client_wire import (
    INVALID_PARAMS,
    RESOURCE_NOT_FOUND,
    Message,
    NotMcp,
    RpcError,
    decode_message,
    decode_outcome,
    error_from_raw,
    usage_from_meta,
)
from adapters.mcp.settings import ServerSettings
from adapters.mcp.tasks import TASK_ID, exposed_id, parts_of, with_id
from adapters.mcp.wire import Answer, Era, Params, as_text, decode_members, decode_value
from gateway.core.errors import GatewayError, InvalidRequest, NotFound, UpstreamFailed
from gateway.core.json import JsonObject, json_object
from gateway.core.labels import CLEAN, Labels
from gateway.core.limits import NOTHING_USED
from gateway.core.model import Capability, Complete, InputRequired, Request, Result

_MOST_TEXT = 500


class Answers:
    """Reads the answers of one server."""

    def __init__(self, slug: str, settings: ServerSettings, seal: Seal) -> None:
        self._slug = slug
        self._seal = seal
        self._labels = CLEAN if settings.trust == "trusted" else Labels(untrusted=frozenset({f"server:{slug}"}))

    @property
    def name(self) -> str:
        """The server's, for messages."""
        return self._slug

    def state_for(self, request: Request, capability: Capability) -> str | None:
        """The server's own state of the call that `request` resumes; None where it gave none, or nothing is resumed.

        Raises: InvalidRequest: see `Seal.open`.
        """
        return self._seal.open(request, capability) if request.continuation else None

    def task_for(self, request: Request, capability: Capability) -> str:
        """The server's own id of the task `request` is about; empty where it is about none.

        Raises: InvalidRequest: see `Seal.open_task`.
        """
        if not request.operation.startswith("task."):
            return ""
        return self._seal.open_task(parts_of(_asked_task(request))[1], request, capability)

    def answer_to(self, number: int, raw: bytes) -> Raw:
        """The result in a message that has to answer request `number`.

        Raises: UpstreamFailed: it does not; or the error it holds, see `error`.
        """
        message = self.message(raw)
        if message.kind != "answer":
            raise self.failed("answered with something that is no answer")
        return self.result_of(number, message)

    def result_of(self, number: int, message: Message) -> Raw:
        """See `answer_to`."""
        if message.id != Raw(b"%d" % number):
            # A server may refuse what it could not read without knowing its id.
            if not (message.error and message.id in (Raw(), Raw(b"null"))):
                raise self.failed("answered another request than the one it was asked")
        elif bool(message.result) == bool(message.error):
            raise self.failed("answered with neither a result nor an error")
        if message.error:
            raise self.error(error_from_raw(message.error))
        return message.result

    def message(self, raw: bytes) -> Message:
        """A message as far as it has to be read. Raises: UpstreamFailed: it is none."""
        try:
            if not raw.isascii():
                raw.decode()  # what is skipped below is relayed as it is, so it has to be valid too
            return decode_message(raw)
        except NotMcp as error:
            raise self.failed("answered with something that is not JSON-RPC") from error

    def members(self, raw: Raw) -> JsonObject:
        """What a result to the gateway itself says. Raises: UpstreamFailed: it cannot be read."""
        try:
            return json_object(decode_value(bytes(raw)))
        except InvalidRequest as error:
            raise self.failed("answered with something that cannot be read") from error

    def result(self, raw: Raw, request: Request, capability: Capability, era: Era) -> Result:
        """A call's result. Raises: UpstreamFailed: it is not a result object."""
        try:
            outcome = decode_outcome(raw)
        except NotMcp as error:
            raise self.failed("answered with a result that is malformed") from error
        if outcome.resultType == "task" or request.operation.startswith("task."):
            raw = self._with_own_task_id(raw, request, capability)
        body = Answer(bytes(raw), era=era)
        labels = self._labels if request.labels is CLEAN else request.labels.join(self._labels)
        if outcome.resultType == "input_required":
            sealed = self._seal.close(outcome.requestState, request, capability)
            # A legacy server's question has been put into the words of the modern era.
            asked = self.members(decode_members(bytes(raw)).get("inputRequests", Raw(b"{}")))
            return InputRequired(body=Answer(bytes(raw), era="modern"), state=sealed, labels=labels, questions=asked)
        usage = usage_from_meta(outcome.meta) if outcome.meta else NOTHING_USED
        return Complete(body=body, is_error=outcome.isError is True, usage=usage, labels=labels)

    def _with_own_task_id(self, raw: Raw, request: Request, capability: Capability) -> Raw:
        if request.operation.startswith("task."):
            return Raw(with_id(bytes(raw), _asked_task(request)))
        theirs = as_text(decode_members(bytes(raw)).get(TASK_ID))
        if theirs is None:
            raise self.failed("began a task without an id")
        return Raw(with_id(bytes(raw), exposed_id(capability.name, self._seal.close_task(theirs, request, capability))))

    def error(self, error: RpcError) -> GatewayError:
        """A JSON-RPC error as one of ours; what the server said is kept under `upstream`."""
        kind: type[GatewayError] = UpstreamFailed
        if error.code == INVALID_PARAMS:
            kind = InvalidRequest
        elif error.code == RESOURCE_NOT_FOUND:
            kind = NotFound
        text = error.message[:_MOST_TEXT] or f"error {error.code}"
        said = self._labels.untrusted
        return kind(f"{self._slug}: {text}", detail={"upstream": error.to_json()}, sources=said)

    def failed(self, what: str) -> UpstreamFailed:
        return UpstreamFailed(f"{self._slug} {what}")


def _asked_task(request: Request) -> str:
    """The id of a task as its caller knows it."""
    body = request.body
    return (as_text(body.members.get(TASK_ID)) if isinstance(body, Params) else None) or ""
