"""The command `fastroute`, and `python -m fastroute`, which is the same."""

import gc


def main() -> None:
    """Import the command line and run it."""
    # What is imported stays: to look for garbage meanwhile takes a tenth of the start.
    gc.disable()
    from fastroute.cli import commands

    gc.freeze()
    gc.enable()
    commands.main()


if __name__ == "__main__":
    main()
