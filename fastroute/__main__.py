"""`python -m fastroute`, the same as the command `fastroute`."""

from fastroute.cli import main

if __name__ == "__main__":
    main()
