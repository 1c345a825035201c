"""Progress display on a terminal while servers are queried."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def progress(doing: str, steps: int) -> Iterator[Callable[[], None]]:
    """Show the progress on stderr if that is a terminal.

    Args:
        doing: Description of the work.
        steps: Number of steps; call the yielded function after each.
    """
    console = Console(stderr=True)
    done = 0
    if not console.is_terminal:
        yield lambda: None
        return
    with console.status(doing) as status:

        def step() -> None:
            nonlocal done
            done += 1
            status.update(f"{doing}: {done} of {steps} done")

        yield step
