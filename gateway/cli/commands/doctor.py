"""`drawbridge doctor`: what is wrong, and what to do about it."""

import typer
from rich.text import Text

from gateway.cli.diagnosis import Finding, findings
from gateway.cli.failure import FINDING
from gateway.cli.options import AsJson, ConfigPath, DataPath, place, single_command
from gateway.cli.render import progress, say, show
from gateway.cli.words import clean
from gateway.core.json import Json

app = single_command()

_MARKS = {"ok": ("ok  ", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "red")}


@app.command()
def doctor(as_json: AsJson = False, config: ConfigPath = None, data: DataPath = None) -> None:
    """Look at everything a gateway needs; exits with 1 when something is broken."""
    with progress("looking"):
        found = list(findings(place(config, data)))
    if as_json:
        listed: list[Json] = [
            {"about": each.about, "level": each.level, "text": each.text, "hint": each.hint} for each in found
        ]
        show({"healthy": not _broken(found), "findings": listed}, lambda: "", as_json=True)
    else:
        for each in found:
            _print(each)
    if _broken(found):
        raise typer.Exit(FINDING)


def _broken(found: list[Finding]) -> bool:
    return any(each.level == "error" for each in found)


def _print(finding: Finding) -> None:
    mark, style = _MARKS[finding.level]
    say(Text.assemble((mark, style), f"  {clean(finding.about)}: {clean(finding.text)}"))
    if finding.hint:
        say(f"      {clean(finding.hint)}")
