"""What the micro benchmarks share: a worker whose connections are in memory."""

from collections.abc import Callable, Iterator

import pytest

from benchmarks.in_memory import InMemoryWorker


@pytest.fixture
def make_worker() -> Iterator[Callable[[int], InMemoryWorker]]:
    """Returns workers in front of so many servers, and closes them after the benchmark."""
    made: list[InMemoryWorker] = []

    def make(servers: int) -> InMemoryWorker:
        made.append(InMemoryWorker(servers))
        return made[-1]

    yield make
    for worker in made:
        worker.close()
