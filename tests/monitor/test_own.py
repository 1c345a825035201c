import asyncio
import socket

import pytest

from fastroute.monitor.own import own_url, with_monitor
from fastroute.monitor.stderr_lines import StderrLines


@pytest.mark.parametrize(
    ("address", "url"),
    [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")],
)
def test_own_url(address, url):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with listening:
        assert own_url(listening) == f"{url}{listening.getsockname()[1]}"


async def test_the_router_continues_if_the_monitor_fails(caplog):
    ready = asyncio.Event()
    ready.set()

    async def router() -> int:
        async with asyncio.timeout(10):
            while "the monitor failed" not in caplog.text:
                await asyncio.sleep(0.01)
        return 7

    # There is no terminal here.
    with socket.create_server(("127.0.0.1", 0)) as listening, StderrLines() as stderr:
        assert await with_monitor(router(), ready, listening, stderr) == 7
