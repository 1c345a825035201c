"""What all tests share: the loop that ships, and a router whose counts must end at 0."""

import contextlib

import pytest

from tests.support.loops import ClosingLoop
from tests.support.router import Router, running_router


def pytest_asyncio_loop_factories(config, item):
    """Tests run on the loop that the workers run on."""
    return {"uvloop": ClosingLoop}


@pytest.fixture
async def start_router():
    """Start routers in this process; at the end each has nothing in flight and no client."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*urls: str, capacity: int = 8, workers: int = 1, **settings) -> Router:
            router = running_router(urls, capacity=capacity, workers=workers, settings=settings)
            return await stack.enter_async_context(router)

        yield start
