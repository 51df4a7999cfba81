"""The running gateway, as the command line sees it: its REST API, found through the data directory."""

from collections.abc import Iterator, Mapping
from os import environ
from types import TracebackType
from urllib.parse import quote

import httpx2
import orjson

from gateway.cli.failure import FINDING, INTERNAL, UNREACHABLE, USAGE, Failure
from gateway.cli.options import Place
from gateway.core.json import Json, JsonObject, json_object, json_text

URL_VARIABLE = "DRAWBRIDGE_URL"
KEY_VARIABLE = "DRAWBRIDGE_OPERATOR_KEY"

_TIMEOUT_S = 30.0
_STREAM_TIMEOUT_S = 60.0
"""Longest silence on an event stream; the gateway says something every 15 s."""

_EXIT_BY_STATUS = {400: USAGE, 500: INTERNAL, 502: UNREACHABLE, 503: UNREACHABLE, 504: UNREACHABLE}


class Remote:
    """A client of one gateway; use it in a `with`."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        # Neither a proxy nor a .netrc of the environment may come between the command line and its gateway.
        self._client = httpx2.Client(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def get(self, *path: str, query: Mapping[str, str | int] | None = None) -> JsonObject:
        """The answer's object. Empty query values are left out."""
        return self._send("GET", path, query=query)

    def post(self, *path: str, body: "JsonObject | None" = None) -> JsonObject:
        return self._send("POST", path, body=body)

    def delete(self, *path: str) -> None:
        self._send("DELETE", path)

    def events(self, run_id: str, after: int = 0) -> Iterator[tuple[str, JsonObject]]:
        """The run's events as (kind, data), the last of kind `end`; goes on where a cut connection stopped."""
        cuts = 0
        while True:
            try:
                for kind, data in self._stream(run_id, after):
                    cuts = 0
                    seq = data.get("seq")
                    after = seq if isinstance(seq, int) else after
                    yield kind, data
                    if kind in ("end", "error"):
                        return
            except httpx2.TransportError as error:
                cuts += 1
                if cuts > 3:
                    raise _unreachable(self.url) from error
                continue
            return

    def _stream(self, run_id: str, after: int) -> Iterator[tuple[str, JsonObject]]:
        path = _path("runs", run_id, "events")
        timeout = httpx2.Timeout(_TIMEOUT_S, read=_STREAM_TIMEOUT_S)
        with self._client.stream("GET", path, params={"after": after}, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise _refused(response)
            kind = "message"
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, _object(line.removeprefix("data: ").encode())
                    kind = "message"

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str | int] | None = None,
        body: "JsonObject | None" = None,
    ) -> JsonObject:
        params = {name: value for name, value in (query or {}).items() if value != ""}
        try:
            response = self._client.request(
                method, _path(*path), params=params, content=None if body is None else orjson.dumps(body)
            )
        except httpx2.TransportError as error:
            raise _unreachable(self.url) from error
        if not response.is_success:
            raise _refused(response)
        return _object(response.content) if response.content else {}


def connect(place: Place, environment: Mapping[str, str] = environ) -> Remote:
    """The gateway that runs on this data directory, or the one the environment names.

    Raises: Failure: none has been started, or its operator key cannot be read.
    """
    url = gateway_url(place, environment)
    return Remote(url, environment.get(KEY_VARIABLE) or _operator_key(place))


def gateway_url(place: Place, environment: Mapping[str, str] = environ) -> str:
    """Where it answers, without a slash at its end. Raises: Failure: none has been started."""
    url = environment.get(URL_VARIABLE, "").rstrip("/")
    if url:
        return url
    endpoint = place.data.read_endpoint()
    if endpoint is None:
        raise Failure(
            f"no gateway is running on {place.data.root}",
            "Start one with `drawbridge serve`, or say where its data is with --data.",
            code=UNREACHABLE,
        )
    return endpoint.url


def running_url(place: Place) -> str:
    """Where a gateway on this data directory answers, or empty where none does."""
    endpoint = place.data.read_endpoint()
    if endpoint is None:
        return ""
    try:
        with httpx2.Client(trust_env=False, timeout=5.0) as client:
            answered = client.get(f"{endpoint.url}/healthz")
    except httpx2.TransportError:
        # The note outlives a gateway that was killed.
        return ""
    return endpoint.url if answered.is_success else ""


def _operator_key(place: Place) -> str:
    try:
        return place.data.operator_key.read_text().strip()
    except FileNotFoundError as error:
        raise Failure(
            f"there is no operator key at {place.data.operator_key}",
            f"`drawbridge serve` makes one on its first start; elsewhere set ${KEY_VARIABLE}.",
        ) from error


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _object(raw: bytes) -> JsonObject:
    try:
        said: Json = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Failure("what answered is no Drawbridge gateway", code=UNREACHABLE) from error
    return json_object(said)


def _unreachable(url: str) -> Failure:
    return Failure(
        f"the gateway at {url} does not answer",
        "Start it with `drawbridge serve`; `drawbridge doctor` looks for the cause.",
        code=UNREACHABLE,
    )


def _refused(response: httpx2.Response) -> Failure:
    error = json_object(_object(response.content).get("error"))
    message = json_text(error.get("message"), f"the gateway answered with status {response.status_code}")
    rule, record = json_text(error.get("rule")), json_text(error.get("record"))
    hint = f"Decided by {rule}." if rule else ""
    if response.status_code == 401:
        hint = "The operator key does not fit this gateway; is --data the directory it runs on?"
    elif record and not hint:
        hint = f"`drawbridge audit show {record}` has the details."
    return Failure(
        message,
        hint,
        code=_EXIT_BY_STATUS.get(response.status_code, FINDING),
        reason=json_text(error.get("reason")),
    )
