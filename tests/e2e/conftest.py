"""What every end-to-end test must leave behind: nothing."""

import asyncio
import gc
import logging

import pytest

from fastroute.proxy.upstream import State, UpstreamConnection
from tests.support.tmux import terminal


@pytest.fixture(autouse=True)
async def nothing_left_behind(caplog):
    """Fail the test when the loop met an exception, or a connection to a server stays open.

    It is set up before the routers of a test, so it looks when they are gone.
    """
    loop = asyncio.get_running_loop()
    troubles: list[str] = []
    loop.set_exception_handler(lambda _, context: troubles.append(repr(context)))
    yield
    troubles += [
        record.getMessage()
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.name == "asyncio" and record.levelno >= logging.WARNING
    ]
    assert not troubles, "the loop reported: " + "; ".join(troubles)
    if open_connections():
        gc.collect()  # A connection of an earlier test without a network, that nobody holds.
    leaked = open_connections()
    assert not leaked, f"connections to servers are still open: {leaked}"


def open_connections() -> list[UpstreamConnection]:
    """Those to servers, of routers in this process."""
    return [
        thing
        for thing in gc.get_objects()
        # Not isinstance(): it asks objects for __class__, and a lazy module is loaded by that.
        if issubclass(type(thing), UpstreamConnection)
        and getattr(thing, "transport", None) is not None
        and thing._state is not State.CLOSED
        # Where connecting was cancelled, uvloop closes the transport and tells nobody of it.
        and "closed=True" not in repr(thing.transport)
    ]


@pytest.fixture(name="shell")
def shell_fixture():
    """A shell in a terminal of 80 columns and 24 lines."""
    with terminal() as shell:
        yield shell
