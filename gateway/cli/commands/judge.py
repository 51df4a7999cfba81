"""`drawbridge judge`: how good the judge of a consensus workflow is."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import FINDING, USAGE, Failure
from gateway.cli.judging import bench_of, calibration_view, judged
from gateway.cli.mcp_calls import Tools
from gateway.cli.options import AsJson, ConfigPath, DataPath, command_group, place
from gateway.cli.remote import gateway_url
from gateway.cli.render import progress, show
from gateway.patterns.consensus.calibration import gold_from

app = command_group("Calibrate the judge of a consensus workflow.")


@app.callback()
def judge() -> None:
    """Calibrate the judge of a consensus workflow."""


@app.command("eval")
def evaluate(
    gold: Annotated[Path, typer.Argument(help="The gold set, a JSON object a line.", show_default=False)],
    workflow: Annotated[str, typer.Option("--workflow", help="Whose judge.", show_default=False)],
    online: Annotated[bool, typer.Option("--online", help="Ask the judge through the running gateway.")] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="With --online: key of somebody who may call the judge.")
    ] = None,
    bar: Annotated[float, typer.Option("--accuracy", min=0, max=1, help="Exit with 1 below this accuracy.")] = 0.0,
    as_json: AsJson = False,
    config: ConfigPath = None,
    data: DataPath = None,
) -> None:
    """Compare a judge's verdicts with people's: accuracy, rank correlation, bias by criterion and by position."""
    at = place(config, data)
    bench = bench_of(at, workflow)
    golds = gold_from(_text(gold).splitlines())
    if online:
        if key is None:
            raise Failure("--online needs --key, the key of somebody who may call the judge", code=USAGE)
        with Tools(gateway_url(at), _text(key).strip()) as tools, progress("asking the judge"):
            said = judged(bench, golds, tools.call)
    else:
        said = judged(bench, golds, None)
    show({"workflow": workflow, **said}, lambda: calibration_view(said), as_json=as_json)
    accuracy = said.get("accuracy")
    if isinstance(accuracy, int | float) and accuracy < bar:
        raise typer.Exit(FINDING)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read", code=USAGE) from error
