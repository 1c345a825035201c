"""Validation of fastroute command lines in the files of deploy/."""

from typing import Any

import typer

from fastroute.cli.commands import app


def options_of(*words: str) -> dict[str, Any]:
    """Return the options of `fastroute WORDS` without running it; an error if they are invalid.

    Args:
        words: The name of the command and its arguments.
    """
    name, *arguments = words
    group: Any = typer.main.get_command(app)
    return group.commands[name].make_context(name, arguments).params
