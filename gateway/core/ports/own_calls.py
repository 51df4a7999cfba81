"""Calls that agents make by the token of a step: they are spent by the step, and so by its run."""

from typing import Protocol

from gateway.core.limits import Usage
from gateway.core.model import Request


class OwnCalls(Protocol):
    async def begun(self, request: Request) -> Request:
        """The call, which counts from now on, with what it may spend at most; any other call as it is.

        Raises: Exhausted: the step, or its run, has no room for it; Unavailable: it cannot be counted.
        """
        ...

    async def ended(self, request: Request, used: Usage) -> None:
        """The call has used that, and perhaps called others."""
        ...
