"""How a command fails: one sentence, what to do, and the exit code that scripts can rely on."""

import json
import os
import sys
import traceback
from typing import cast

from gateway.cli.words import indented
from gateway.core.errors import (
    DeadlineExceeded,
    GatewayError,
    Internal,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
)

OK = 0
FINDING = 1
"""The command worked and found something wrong, or was refused."""
USAGE = 2
UNREACHABLE = 3
INTERNAL = 4
INTERRUPTED = 130

DEBUG = "DRAWBRIDGE_DEBUG"
"""Environment variable: show the traceback of an internal error."""


class Failure(Exception):
    """Ends the command."""

    def __init__(self, message: str, hint: str = "", *, code: int = FINDING, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.reason = reason


def exit_code(error: GatewayError) -> int:
    """The exit code a gateway's error stands for."""
    if isinstance(error, InvalidRequest):
        return USAGE
    if isinstance(error, Unavailable | DeadlineExceeded | UpstreamFailed):
        return UNREACHABLE
    return INTERNAL if isinstance(error, Internal) else FINDING


def report(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong, on stderr or as JSON on stdout; gives the exit code."""
    failure = _failure(_first(error))
    if as_json:
        said = {"message": failure.message, "hint": failure.hint, "exit": failure.code, "reason": failure.reason}
        print(json.dumps({"error": said}))
    else:
        # The gateway passes on what servers, agents and other callers say.
        print(f"drawbridge: {indented(failure.message, 2)}", file=sys.stderr)
        if failure.hint:
            print(f"  {indented(failure.hint, 2)}", file=sys.stderr)
    if failure.code == INTERNAL and os.environ.get(DEBUG):
        traceback.print_exception(error)
    return failure.code


def _first(error: Exception) -> Exception:
    """What really happened: task groups wrap the one error that ended them."""
    while isinstance(error, ExceptionGroup):
        inner = cast("tuple[Exception, ...]", error.exceptions)
        known = [each for each in inner if isinstance(each, GatewayError | Failure)]
        error = (known or list(inner))[0]
    return error


def _failure(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, GatewayError):
        return Failure(error.message, code=exit_code(error), reason=error.wire.reason)
    if isinstance(error, PermissionError):
        return Failure(f"{error.filename}: no permission", "Run it as the user who owns the file.")
    if isinstance(error, OSError) and error.filename:
        return Failure(f"{error.filename}: {error.strerror}")
    return Failure(
        f"internal error: {type(error).__name__}: {error}",
        f"Set {DEBUG}=1 to see where, and report it.",
        code=INTERNAL,
        reason="INTERNAL",
    )
