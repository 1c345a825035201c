"""`--install-completion` and `--show-completion`, with the name of a shell or without.

Typer detects the shell from the parent process, which is not a shell in an installation script, in
a container or under sudo; and it ignores a given name.
"""

from typing import Any

import typer
from typer.completion import install_callback, show_callback
from typer.core import TyperGroup

ACTIONS = {"--install-completion": install_callback, "--show-completion": show_callback}


class Commands(TyperGroup):
    """All commands; handles `--show-completion zsh` itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Handle a named shell; leave everything else to typer."""
        if len(args) == 2 and args[0] in ACTIONS:
            option = next(each for each in self.params if args[0] in each.opts)
            ACTIONS[args[0]](ctx, option, args[1])
            raise typer.Exit
        return super().parse_args(ctx, args)
