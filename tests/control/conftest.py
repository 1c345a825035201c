"""The control plane runs on uvloop, and together with the monitor on asyncio's own loop."""

from tests.support.loops import ON_BOTH


def pytest_asyncio_loop_factories(config, item):
    return ON_BOTH
