"""The stand-in must behave alike on both event loops."""

import asyncio

import pytest
import uvloop

from tests.support.standins import standin


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server():
    """A stand-in with one fast model named tiny."""
    async with standin(models=("tiny",)) as server:
        yield server
