"""The doctor runs on asyncio's own loop; its parts must behave the same on uvloop."""

from tests.support.loops import ON_BOTH


def pytest_asyncio_loop_factories(config, item):
    return ON_BOTH
