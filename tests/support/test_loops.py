import subprocess
import sys

LEFT_OPEN = """
import asyncio
from tests.support.loops import ClosingLoop

async def leave_open():
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())

loop = ClosingLoop()
loop.run_until_complete(leave_open())
loop.close()
"""


def test_what_was_left_open_is_an_error_and_no_hang():
    """In a separate process, because nothing else would end the hang."""
    command = [sys.executable, "-W", "error", "-c", LEFT_OPEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "ResourceWarning: unclosed resource <TCPServer" in done.stderr
