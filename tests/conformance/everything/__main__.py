"""`python -m tests.conformance.everything PORT [--legacy]`: serve until terminated."""

import argparse

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.conformance.everything.server import Everything
from tests.fakes_mcp_servers import LegacyOnly


class Trimmed:
    """Takes the white space around header values away, which is no part of them (RFC 9110, 5.5)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await self._app(scope, receive, send)


async def serve(port: int, *, legacy_only: bool) -> None:
    async with anyio.create_task_group() as group:
        app = Trimmed(Everything(group).app())
        config = uvicorn.Config(
            LegacyOnly(app) if legacy_only else app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve()
        group.cancel_scope.cancel()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("--legacy", action="store_true", help="answer no revision after 2025-11-25")
    said = arguments.parse_args()
    anyio.run(lambda: serve(said.port, legacy_only=said.legacy))


if __name__ == "__main__":
    main()
