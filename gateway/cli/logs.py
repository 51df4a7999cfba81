"""Where log lines go: stderr, for people on a terminal and as JSON elsewhere. Never stdout, which carries answers."""

import logging
import sys
from os import environ

import structlog
from structlog.typing import Processor

LEVEL = "DRAWBRIDGE_LOG"
"""Environment variable: debug, info, warning or error."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs() -> None:
    """Once, before anything logs."""
    _configure(_LEVELS.get(environ.get(LEVEL, "").lower(), logging.INFO))


def configure_logs_for_tests() -> None:
    """Once, before anything logs: where faults are injected on purpose, only what is asked for is said of them."""
    _configure(_LEVELS.get(environ.get(LEVEL, "").lower(), logging.CRITICAL))


def _configure(level: int) -> None:
    # Tracebacks without local variables: among those are keys.
    rendered: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
