"""Whether a command line of fastroute, as it stands in a file of deploy/, is one."""

from typing import Any

import typer

from fastroute.cli.commands import app


def options_of(*words: str) -> dict[str, Any]:
    """The options that `fastroute WORDS` gives, without running it; an error if it takes none such.

    Args:
        words: The name of the command and its arguments.
    """
    name, *arguments = words
    group: Any = typer.main.get_command(app)
    return group.commands[name].make_context(name, arguments).params
