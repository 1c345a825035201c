"""`--install-completion` and `--show-completion`, with the name of a shell or without.

Typer guesses the shell from the process that started us, which is no shell in an installation
script, in a container or under sudo; and it takes no notice of a name that is given.
"""

from typing import Any

import typer
from typer.completion import install_callback, show_callback
from typer.core import TyperGroup

ACTIONS = {"--install-completion": install_callback, "--show-completion": show_callback}


class Commands(TyperGroup):
    """All commands; `--show-completion zsh` is answered here."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Act on a shell that is named; all else is typer's."""
        if len(args) == 2 and args[0] in ACTIONS:
            option = next(each for each in self.params if args[0] in each.opts)
            ACTIONS[args[0]](ctx, option, args[1])
            raise typer.Exit
        return super().parse_args(ctx, args)
