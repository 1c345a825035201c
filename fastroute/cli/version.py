"""Output of `fastroute version`: the version, and if its hot path is compiled."""

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from typing import Annotated

import typer

from fastroute import __version__

ON_THE_HOT_PATH = "fastroute.proxy.exchange"
"""A module that represents all: a wheel has either all of them compiled or none."""


def is_compiled() -> bool:
    """Return True if this interpreter uses compiled modules for the hot path.

    Those of another interpreter's wheel do not count, because Python ignores them.
    """
    spec = find_spec(ON_THE_HOT_PATH)
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)


def version_line() -> str:
    """Return the version line, such as `fastroute 0.1.0 (compiled)`."""
    return f"fastroute {__version__} ({'compiled' if is_compiled() else 'pure Python'})"


def _print_and_exit(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line())
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_and_exit, is_eager=True, help="Print the version and exit."
    ),
]
