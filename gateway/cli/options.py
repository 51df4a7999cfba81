"""What the commands have in common: their shared options, and where the configuration and the data are."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Annotated

import typer

from adapters.storage.directory import DataDirectory, data_directory

CONFIG_VARIABLE = "DRAWBRIDGE_CONFIG"
CONFIG_NAME = "gateway.yaml"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, notes on stderr.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"Configuration file; by default ${CONFIG_VARIABLE}, then {CONFIG_NAME}."),
]
DataPath = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory; by default $DRAWBRIDGE_DATA, then .drawbridge/ beside the file."),
]
Show = Annotated[bool, typer.Option("--show", help="Print secrets even where stdout is no terminal.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The configuration file, which need not exist, and the data directory that goes with it."""

    config: Path
    data: DataDirectory


def place(config: Path | None, data: Path | None, environment: Mapping[str, str] = environ) -> Place:
    """Where this command works: what the options say, else the environment, else the current directory."""
    if config is None:
        config = Path(environment.get(CONFIG_VARIABLE) or CONFIG_NAME)
    path = config.expanduser().absolute()
    return Place(config=path, data=data_directory(data, configuration=path, environment=environment))


def command_group(help_text: str) -> typer.Typer:
    """An empty group of commands in the house style."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def single_command() -> typer.Typer:
    """A group that is to have one command, which then stands for itself."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
