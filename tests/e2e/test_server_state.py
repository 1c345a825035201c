"""A state is written by one process and counts for the next request in all others."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import closing

from fastroute.config import Config
from fastroute.control.workers.launch import Launch, Sockets
from fastroute.control.workers.listeners import open_listeners
from fastroute.control.workers.process import Reports, WorkerProcess
from fastroute.ipc.logs import LogOptions
from fastroute.ipc.messages import Configure, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.rules.server_state import ServerState
from tests.support.score_table import put_server
from tests.support.standins import standins

UP, DOWN = ServerState.UP, ServerState.DOWN
TRIAL, COOLING = ServerState.TRIAL, ServerState.COOLING
REQUEST = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"


class Client:
    """A connection to one worker that is kept."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    async def ask(self) -> bytes:
        """Send a request; return the status of the answer."""
        self._writer.write(REQUEST)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await self._reader.readexactly(int(fields[b"content-length"]))
        return head.split()[1]

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def two_workers(table: ScoreTable, urls: list[str]) -> AsyncIterator[list[Client]]:
    """Run two worker processes for these servers, with a client each and no supervisor."""
    sockets = Sockets([open_listeners("127.0.0.1", 0, 1)[0] for _ in range(2)])
    launch = Launch(sockets, table, LogOptions(level="warning"))
    servers = tuple(
        RoutedServer(row=row, generation=1, url=url, max_concurrent_requests=8)
        for row, url in enumerate(urls)
    )
    workers: list[WorkerProcess] = []
    with closing(launch), contextlib.ExitStack() as cleanup:
        for index in range(2):
            ready = asyncio.Event()
            started = launch.take(index)
            reports = Reports(lambda _, ready=ready: ready.set(), lambda _: None)
            worker = await WorkerProcess.attend(index, started, reports)
            cleanup.callback(worker.kill)
            workers.append(worker)
            worker.send(Configure(config=Config(servers=(), policy="round_robin"), servers=servers))
            async with asyncio.timeout(20):
                await ready.wait()
        clients = [Client(await asyncio.open_connection(sock=_connect(s))) for s in sockets.clients]
        yield clients
        for client in clients:
            client.close()
        for worker in workers:
            worker.kill()
            await worker.wait()


def _connect(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname()[:2])


async def test_a_change_counts_for_the_next_request_in_every_worker():
    """No message is sent: the score table is the only way a state takes."""
    table = ScoreTable.create(rows=8, workers=2)
    async with standins(2) as servers, asyncio.timeout(60):
        put_server(table, 0, UP)
        put_server(table, 1, DOWN)
        columns = [table.worker_cells(index).started for index in range(2)]
        async with two_workers(table, [server.url for server in servers]) as clients:
            for turn in range(200):
                used, unused = turn % 2, 1 - turn % 2
                table.set_state(unused, DOWN)
                table.set_state(used, (UP, TRIAL, COOLING)[turn % 3])
                before = [column.tolist() for column in columns]
                for client in clients:
                    assert await client.ask() == b"200"
                for column, started in zip(columns, before, strict=True):
                    assert column[used] == started[used] + 1, f"turn {turn}"
                    assert column[unused] == started[unused], f"turn {turn}"
            table.set_state(used, DOWN)
            assert [await client.ask() for client in clients] == [b"503", b"503"]
