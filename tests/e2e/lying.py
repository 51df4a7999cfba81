"""Upstreams that lie, all behind one real socket: the path says how. Everything up to the call itself is in order."""

import json
from collections.abc import Callable
from typing import Any

from tests.fakes_upstreams import Exchange

DISCOVERED: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
}
MEBIBYTE = b" " * (1024 * 1024)
LOOSE_TALK = "Traceback (most recent call last): /srv/secret-place/shop.py 127.0.0.1 "
"""What must not reach a caller; every lie says it."""
PAGE = f"<html><h1>Bad gateway</h1>{LOOSE_TALK}</html>".encode()


def message(exchange: Exchange) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(exchange.body or b"{}")
    return said


def answer(exchange: Exchange, result: Any, number: Any = None) -> bytes:
    number = message(exchange).get("id") if number is None else number
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


def spoken(text: str) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": False}


def tell_truth(exchange: Exchange) -> None:
    """Says what it was asked, and with which credential it came."""
    said = {"arguments": message(exchange)["params"].get("arguments", {})}
    exchange.answer(answer(exchange, spoken(json.dumps(said))))


def answer_html(exchange: Exchange) -> None:
    exchange.answer(PAGE, status=502, content_type="text/html")


def answer_html_as_success(exchange: Exchange) -> None:
    exchange.answer(PAGE, content_type="text/html")


def answer_half_json(exchange: Exchange) -> None:
    exchange.answer(b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"' + LOOSE_TALK.encode())


def hang(exchange: Exchange) -> None:
    """Nothing, ever."""


def hang_in_stream(exchange: Exchange) -> None:
    exchange.stream()


def cut_before_answer(exchange: Exchange) -> None:
    exchange.reset()


def cut_body(exchange: Exchange) -> None:
    exchange.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{"jsonrpc"')
    exchange.close()


def cut_stream(exchange: Exchange) -> None:
    exchange.stream(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"so far"}}')
    exchange.close()


def end_stream_early(exchange: Exchange) -> None:
    exchange.stream()
    exchange.end()


def answer_another(exchange: Exchange) -> None:
    exchange.answer(answer(exchange, spoken(LOOSE_TALK), number="somebody-else"))


def answer_twice(exchange: Exchange) -> None:
    """In one piece, so that both are there at once."""
    events = (answer(exchange, spoken("first")), answer(exchange, spoken(LOOSE_TALK)))
    exchange.answer(b"".join(b"data: %b\n\n" % each for each in events), content_type="text/event-stream")


def answer_unasked(exchange: Exchange) -> None:
    """A second HTTP answer behind the first, which must not be taken for the next call's."""
    exchange.answer(answer(exchange, spoken("first")))
    exchange.answer(answer(exchange, spoken(LOOSE_TALK)))


def announce_too_much(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n")
    exchange.send(MEBIBYTE)


def send_too_much(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        exchange.send(b"%x\r\n%b\r\n" % (len(MEBIBYTE), MEBIBYTE))


def stream_too_much(exchange: Exchange) -> None:
    exchange.stream()
    for _ in range(100):
        exchange.send(b"%x\r\n%b\r\n" % (len(MEBIBYTE), MEBIBYTE))


def redirect(exchange: Exchange) -> None:
    exchange.answer(b"", status=307, more="location: http://127.0.0.1:1/secret-place\r\n")


def speak_no_http(exchange: Exchange) -> None:
    exchange.send(b"220 mail.secret-place ESMTP\r\n" * 10)
    exchange.close()


def answer_no_result(exchange: Exchange) -> None:
    exchange.answer(answer(exchange, [LOOSE_TALK]))


def answer_error(exchange: Exchange) -> None:
    number = message(exchange)["id"]
    said = {"jsonrpc": "2.0", "id": number, "error": {"code": "no number", "message": {"text": LOOSE_TALK}}}
    exchange.answer(json.dumps(said).encode())


def deny(exchange: Exchange) -> None:
    exchange.answer(
        PAGE, status=401, content_type="text/html", more='www-authenticate: Bearer realm="secret-place"\r\n'
    )


LIES: dict[str, tuple[Callable[[Exchange], None], int]] = {
    "html": (answer_html, 1502),
    "html-200": (answer_html_as_success, 1502),
    "half-json": (answer_half_json, 1502),
    "hang": (hang, 1504),
    "hang-in-stream": (hang_in_stream, 1504),
    "cut-before": (cut_before_answer, 1502),
    "cut-body": (cut_body, 1502),
    "cut-stream": (cut_stream, 1502),
    "ended-early": (end_stream_early, 1502),
    "wrong-id": (answer_another, 1502),
    "announced-100-mb": (announce_too_much, 1502),
    "sent-100-mb": (send_too_much, 1502),
    "streamed-100-mb": (stream_too_much, 1502),
    "redirect": (redirect, 1502),
    "no-http": (speak_no_http, 1502),
    "no-result": (answer_no_result, 1502),
    "twice": (answer_twice, 1502),
    "no-entry": (deny, 1502),
}
"""How it lies, and the code a caller gets for it."""


AGENT_LIES = ("html", "hang", "cut-stream", "wrong-id", "streamed-100-mb", "half-json", "no-http", "ended-early")
"""Those of the lies that agents tell, too, as `agent-LIE`."""


def card(url: str, says: str) -> dict[str, Any]:
    """The card of an agent that can be called at `url`."""
    return {
        "name": "Some agent",
        "description": "Does something.",
        "version": "1.0.0",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "some", "name": "Some", "description": says, "tags": ["some"]}],
    }


def keep_one_task(exchange: Exchange) -> None:
    """An agent whose only task has the same id for everybody."""
    task = {"id": "t-1", "contextId": "c-1", "status": {"state": "TASK_STATE_COMPLETED"}}
    match message(exchange)["method"]:
        case "SendMessage":
            exchange.answer(answer(exchange, {"task": task}))
        case "SendStreamingMessage":
            exchange.stream(answer(exchange, {"task": task}))
            exchange.end()
        case "ListTasks":
            exchange.answer(answer(exchange, {"tasks": [task], "pageSize": 50, "totalSize": 1, "nextPageToken": ""}))
        case _:
            exchange.answer(answer(exchange, task))


def show_card(exchange: Exchange, where: str) -> None:
    own = f"http://{exchange.headers[b'host'].decode()}/{where}"
    named = "http://metadata.secret-place.example/latest" if where == "agent-liar" else own
    exchange.answer(json.dumps(card(named, "Does something.")).encode())


def behave(exchange: Exchange) -> None:
    """Answer for whichever server the path names."""
    where = exchange.target.decode().strip("/").partition("/")[0]
    if exchange.method == b"GET":
        show_card(exchange, where)
        return
    if where.startswith("agent-"):
        keep_one_task(exchange) if where == "agent-same" else LIES[where.removeprefix("agent-")][0](exchange)
    else:
        answer_as_server(exchange, where)


def answer_as_server(exchange: Exchange, where: str) -> None:
    method = message(exchange).get("method")
    if where.endswith("page"):
        answer_html_as_success(exchange)
    elif where == "hang-always":
        return
    elif method == "tools/call" and where == "eager":
        answer_unasked(exchange)
    elif method == "tools/call" and where == "odd-error":
        answer_error(exchange)
    elif method == "server/discover":
        exchange.answer(answer(exchange, DISCOVERED))
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("act", "look")]
        exchange.answer(answer(exchange, {"resultType": "complete", "tools": tools}))
    elif method == "tools/call":
        LIES.get(where, (tell_truth, 0))[0](exchange)
    else:
        exchange.answer(PAGE, status=404, content_type="text/html")
