"""A sign of life on a terminal while servers are asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def progress(doing: str, steps: int) -> Iterator[Callable[[], None]]:
    """Show on stderr, where that is a terminal, how far the work has come.

    Args:
        doing: What is being done.
        steps: How many there are; the function that this yields is to be called after each.
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
            status.update(f"{doing}: {done} of {steps} answers")

        yield step
