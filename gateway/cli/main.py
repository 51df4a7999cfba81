"""The entry of the command line: names every command, imports only the one asked for, turns errors into exit codes."""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from gateway import __version__
from gateway.cli.failure import INTERRUPTED, report

COMMANDS: dict[str, str] = {
    "init": "Write a gateway.yaml with you as its owner",
    "serve": "Run the gateway",
    "demo": "See the whole story happen: agents, tools, a conflict, a denial",
    "check": "Check a configuration, offline",
    "explain": "Say which rule decides a call, and what would have to change",
    "agents": "Add, list, show and remove agents",
    "tools": "List and show what can be called, and by whom",
    "audit": "Read, verify and export the audit log",
    "advise": "Name the pattern that fits the work, or what the record suggests",
    "runs": "List, show, watch, pause, resume, fork, cancel and forget runs",
    "dead": "List, show, retry and drop runs that did not come to a good end",
    "approvals": "List, show, approve and deny what waits for a person",
    "memory": "Search, list and forget what agents remember",
    "costs": "Show what was spent, on whom, and what the budgets have left",
    "test": "Test orchestrations: scenarios, contracts, load",
    "judge": "Compare a workflow's judge with people, on a gold set",
    "router": "Measure where requests go, on a labelled set or by the record",
    "keys": "Mint, list and revoke keys",
    "tokens": "List, connect and revoke people's accounts at servers",
    "connect": "Connect an MCP client: Claude Code, Claude Desktop, Cursor, VS Code",
    "mcp": "Serve MCP over stdio by relaying to the running gateway",
    "chaos": "Inject faults into a running gateway that allows it",
    "doctor": "Find out what is wrong",
    "config": "Print the configuration's JSON Schema",
}
"""Command -> one line of help. The command `x` lives in `gateway.cli.commands.x`."""


class Deferred(TyperCommand):
    """Stands in the list of commands for one whose module is imported when it is called."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: Any = None,  # typer keeps its context class to itself
        **extra: Any,
    ) -> Any:
        return get_command(_module_of(self.name).app).make_context(info_name, args, parent, **extra)


def _module_of(command: str | None) -> Any:
    # What is imported stays, and nothing of it is garbage: looking for some would take a fifth of a command's start.
    gc.disable()
    try:
        return import_module(f"gateway.cli.commands.{command}")
    finally:
        gc.enable()


class Root(TyperGroup):
    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, help_text in COMMANDS.items():
            self.add_command(Deferred(name, help=help_text, rich_markup_mode=None))


app = typer.Typer(
    name="drawbridge",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # typer's rich help alone takes longer to import than any command here takes to answer
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a finding or a refusal, 2 wrong usage, 3 not reachable, 4 our own fault.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"drawbridge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """The gateway between agents and everything they call."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code. Without `arguments` they are the process's, which ends with the command."""
    if arguments is not None:
        return _run(list(arguments))
    code = _run(sys.argv[1:])
    # The interpreter would look through everything for garbage, several times, before it lets go of it all.
    gc.freeze()
    return code


def _run(given: list[str]) -> int:
    try:
        get_command(app).main(given, prog_name="drawbridge")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost edge: every error ends as a sentence and an exit code
        return report(error, as_json="--json" in given)
    return 0
