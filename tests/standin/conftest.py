"""The stand-in must behave the same on both event loops."""

import pytest

from tests.support.loops import ON_BOTH
from tests.support.standins import standin


def pytest_asyncio_loop_factories(config, item):
    return ON_BOTH


@pytest.fixture
async def server():
    """A stand-in with one fast model named tiny."""
    async with standin(models=("tiny",)) as server:
        yield server
