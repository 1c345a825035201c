"""The command `fastroute`, also available as `python -m fastroute`."""

import gc


def main() -> None:
    """Import the command line and run it."""
    # Imported objects stay alive: garbage collection meanwhile takes a tenth of the start-up.
    gc.disable()
    from fastroute.cli import commands

    gc.freeze()
    gc.enable()
    commands.main()


if __name__ == "__main__":
    main()
