"""A supervisor without file descriptors says nothing about its servers.

Seen: 14 of 40 healthy servers DOWN with "Too many open files".
"""

import asyncio
import json
import sys

from tests.support.ports import free_port
from tests.support.scripted import read_request

SERVERS = 40
DESCRIPTORS = 40
"""Of the supervisor, its files included: some servers can be asked at a time, most cannot."""

PROGRAM = """
import asyncio, json, logging, resource, ssl, sys
from fastroute.config import Config, ServerConfig
from fastroute.control.fleet.fleet import Fleet
from fastroute.control.watch.server_watch import ServerWatch
from fastroute.ipc.score_table import ScoreTable
from fastroute.net.resolver import Resolver

servers, descriptors, port = map(int, sys.argv[1:])
config = Config(
    servers=tuple(ServerConfig(url=f"http://127.0.1.{n}:{port}") for n in range(1, servers + 1)),
    health_check_interval=0.05, scrape_interval=0.05, models_refresh_interval=0.05,
    health_check_consecutive_failures=1,
)

async def main():
    fleet = Fleet(ScoreTable.create(rows=64, workers=1), config)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    watches = [
        ServerWatch(server, ssl.create_default_context, Resolver(), config)
        for server in fleet.servers.values()
    ]
    while sum(report.total_checks for report in fleet.health().servers.values()) < 5 * servers:
        await asyncio.sleep(0.05)
        fleet.tick()
    for watch in watches:
        watch.stop()
    print(json.dumps([server.health.state.name for server in fleet.servers.values()]))

logging.basicConfig(level=logging.ERROR, format="%(message)s")
asyncio.run(main())
"""


async def answer(reader, writer):
    """Answer all requests of a connection with 200."""
    try:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def test_all_servers_stay_up():
    port = free_port()
    addresses = [f"127.0.1.{number}" for number in range(1, SERVERS + 1)]
    listener = await asyncio.start_server(answer, addresses, port)
    arguments = (str(SERVERS), str(DESCRIPTORS), str(port))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(program.communicate(), 60)
    finally:
        listener.close()
    assert json.loads(output) == ["UP"] * SERVERS
    (line,) = errors.decode().splitlines()
    assert "fastroute itself has reached a limit" in line
    assert "Too many open files" in line
