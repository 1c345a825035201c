"""What all tests share: the loop that ships, and a router whose counts must end at 0."""

import contextlib
import gc

import pytest

from tests.support.loops import ClosingLoop
from tests.support.router import Router, running_router


def pytest_asyncio_loop_factories(config, item):
    """Tests run on the loop that the workers run on."""
    return {"uvloop": ClosingLoop}


def pytest_collection_finish():
    """What there is before the first test is no test's: the collector need not look at it again.

    Those are some 300,000 objects, and end-to-end tests look at all that are left, each for itself.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """What plugins do at the end may ask the collector who refers to what."""
    gc.unfreeze()


@pytest.fixture
async def start_router():
    """Start routers in this process; at the end each has nothing in flight and no client."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*urls: str, capacity: int = 8, workers: int = 1, **settings) -> Router:
            router = running_router(urls, capacity=capacity, workers=workers, settings=settings)
            return await stack.enter_async_context(router)

        yield start
