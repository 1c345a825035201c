"""Shared by the micro benchmarks: a worker with in-memory connections."""

from collections.abc import Callable, Iterator

import pytest

from benchmarks.in_memory import InMemoryWorker


@pytest.fixture
def make_worker() -> Iterator[Callable[[int], InMemoryWorker]]:
    """Return a factory of workers by number of servers; they are closed after the benchmark."""
    made: list[InMemoryWorker] = []

    def make(servers: int) -> InMemoryWorker:
        made.append(InMemoryWorker(servers))
        return made[-1]

    yield make
    for worker in made:
        worker.close()
