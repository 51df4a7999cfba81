"""`drawbridge config`: what a configuration may hold."""

from gateway.cli.offline import schema_of_configuration
from gateway.cli.options import AsJson, command_group
from gateway.cli.render import show

app = command_group("Print the configuration's JSON Schema.")


@app.callback()
def group() -> None:
    """About the configuration file."""


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the JSON Schema of gateway.yaml, for editors and tests."""
    show(schema_of_configuration(), lambda: "", as_json=True)
