"""An A2A agent that answers at once, for benchmarks: a card, and one finished task for every message.

python -m benchmarks.echo_agent PORT
"""

import json
import sys
from typing import Any

import uvicorn

ARTIFACTS = [{"artifactId": "a", "parts": [{"text": "done"}]}]
TASK = {"id": "", "contextId": "", "status": {"state": "TASK_STATE_COMPLETED"}}


def card(port: int) -> dict[str, Any]:
    return {
        "name": "echo",
        "description": "Says what it was told",
        "version": "1.0.0",
        "capabilities": {"streaming": True},
        "supportedInterfaces": [
            {"url": f"http://127.0.0.1:{port}/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        ],
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "echo", "name": "echo", "description": "Echoes", "tags": ["echo"]}],
    }


def answer(call: dict[str, Any]) -> bytes:
    """The task, done: as one event, or, where it is asked for by its id, as it is."""
    message = call["params"].get("message")
    if message is None:
        task = {**TASK, "id": call["params"].get("id"), "contextId": "context-1", "artifacts": ARTIFACTS}
        return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": task}).encode()
    task = {
        **TASK,
        "id": f"task-{message['messageId']}".replace("/", "-"),
        "contextId": message.get("contextId") or "context-1",
        "artifacts": ARTIFACTS,
    }
    said = {"jsonrpc": "2.0", "id": call["id"], "result": {"task": task}}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def application(port: int) -> Any:
    shown = json.dumps(card(port)).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            kind, body = b"application/json", shown
        else:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            body = answer(json.loads(body))
            kind = b"text/event-stream" if body.startswith(b"data:") else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(int(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="off"
    )
