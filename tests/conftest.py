"""Shared by all tests: the product's event loop, and a router whose gauges must end at 0."""

import contextlib
import gc

import hypothesis
import pytest

from tests.support.loops import ClosingLoop
from tests.support.router import Router, running_router

# The machine may be busy and coverage is slow, so no example has a time limit of its own.
hypothesis.settings.register_profile("fastroute", deadline=None)
hypothesis.settings.load_profile("fastroute")


def pytest_asyncio_loop_factories(config, item):
    """Tests run on the loop that the workers run on."""
    return {"uvloop": ClosingLoop}


def pytest_collection_finish():
    """Exclude objects that exist before the first test from garbage collection.

    These are some 300,000 objects, and each end-to-end test examines all remaining ones.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Undo this, because plugins may inspect references at the end."""
    gc.unfreeze()


@pytest.fixture
async def start_router():
    """Start routers in this process; at the end each must have no requests and no clients."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*urls: str, capacity: int = 8, workers: int = 1, **settings) -> Router:
            router = running_router(urls, capacity=capacity, workers=workers, settings=settings)
            return await stack.enter_async_context(router)

        yield start
