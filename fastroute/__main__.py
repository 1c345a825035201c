"""The command `fastroute`, also available as `python -m fastroute`."""

import gc
import sys


def main() -> None:
    """Import the command line and run it."""
    # Imported objects stay alive: garbage collection meanwhile takes a tenth of the start-up.
    gc.disable()
    from fastroute.cli import commands

    gc.freeze()
    gc.enable()
    commands.main()


if __name__ == "__main__":
    # `python -m` imports from the current directory first: a file `uvloop.py` there would be run.
    # From a checkout, the modules of fastroute itself are found by their package all the same.
    if not sys.flags.safe_path and sys.path[0] != __file__.removesuffix("/fastroute/__main__.py"):
        del sys.path[0]
    main()
