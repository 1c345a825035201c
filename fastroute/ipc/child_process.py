"""Command lines of Python child processes, which must run the same code as their parent."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that this process imported `fastroute` from."""


def python_command(program: str, *arguments: str) -> list[str]:
    """Return the command line that runs a program in the interpreter of this process.

    `python -c` and `python -m` import from the current directory first: a folder `fastroute/` or a
    file `uvloop.py` in the directory where `fastroute run` is typed would be executed. `-P` leaves
    that directory out, and `fastroute` is imported from where this process has it, so that a
    compiled installation never runs workers from sources that happen to lie there.

    Args:
        program: Python statements.
        arguments: `sys.argv[1:]` of the program.
    """
    return [
        sys.executable,
        "-P",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}",
        *arguments,
    ]
