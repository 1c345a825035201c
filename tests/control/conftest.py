"""The control plane runs on uvloop, and beside the monitor on asyncio's own loop."""

from tests.support.loops import ON_BOTH


def pytest_asyncio_loop_factories(config, item):
    return ON_BOTH
