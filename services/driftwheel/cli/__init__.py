"""
The command line. An error that a person can mend is a sentence on stderr and exit code 2, not a traceback.

The commands are thin: they read the settings once and call what the rest of the package offers.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from driftwheel.cli import decide, letters, logs, look, manage, operate, verdicts
from driftwheel.cli.context import Context
from driftwheel.errors import DriftwheelError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Watches LLM applications in production and turns what it sees into better models.",
)

for module in (operate, verdicts, look, decide, letters, manage):
    module.register(app)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="The settings file; ./driftwheel.toml if there is one.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    """What every command shares."""
    logs.begin(verbose=verbose)
    context.obj = Context(config, dict(os.environ))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except DriftwheelError as wrong:
        print(f"driftwheel: {wrong}", file=sys.stderr)  # noqa: T201  the command line speaks on stderr
        sys.exit(2)
