"""Checks that no end-to-end test leaves anything behind."""

import asyncio
import gc
import logging

import pytest

from fastroute.proxy.upstream import State, UpstreamConnection
from tests.support.tmux import terminal


@pytest.fixture(autouse=True)
async def nothing_left_behind(caplog):
    """Fail the test after an exception in the loop, or if a connection to a server stays open.

    It is set up before the routers of a test, so that it checks after they have stopped.
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
        gc.collect()  # An unreferenced connection of an earlier test without a network.
    leaked = open_connections()
    assert not leaked, f"connections to servers are still open: {leaked}"


def open_connections() -> list[UpstreamConnection]:
    """Return the connections to servers, of routers in this process."""
    return [
        thing
        for thing in gc.get_objects()
        # Not isinstance(), which reads __class__ and would thereby load lazy modules.
        if issubclass(type(thing), UpstreamConnection)
        and getattr(thing, "transport", None) is not None
        and thing._state is not State.CLOSED
        # If connecting was cancelled, uvloop closes the transport without notifying the protocol.
        and "closed=True" not in repr(thing.transport)
    ]


@pytest.fixture(name="shell")
def shell_fixture():
    """A shell in a terminal of 80 columns and 24 lines."""
    with terminal() as shell:
        yield shell
