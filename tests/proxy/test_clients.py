import asyncio

import pytest

from fastroute.proxy.clients import Clients


class Connection:
    def sweep(self, now: float) -> None: ...

    def drain(self) -> None: ...

    def cut(self) -> bool:
        return False


@pytest.fixture(name="number")
def number_fixture():
    return memoryview(bytearray(8)).cast("q")


def test_counts(number):
    clients, first, second = Clients(number), Connection(), Connection()
    clients.add(first)
    clients.add(second)
    assert (len(clients), number[0], set(clients)) == (2, 2, {first, second})
    assert clients.exceed(1)
    clients.exempt()
    assert not clients.exceed(1)
    clients.remove(second, exempt=True)
    assert (len(clients), number[0]) == (1, 1)
    assert clients.exceed(0)
    assert not clients.exceed(1)


def test_one_may_leave_while_all_are_gone_through(number):
    clients = Clients(number)
    for _ in range(3):
        clients.add(Connection())
    for client in clients:
        clients.remove(client, exempt=False)
    assert not clients


async def test_all_gone(number):
    clients, first, second = Clients(number), Connection(), Connection()
    await clients.all_gone()
    clients.add(first)
    clients.add(second)
    clients.draining = True
    waiting = asyncio.ensure_future(clients.all_gone())
    await asyncio.sleep(0)
    clients.remove(first, exempt=False)
    await asyncio.sleep(0)
    assert not waiting.done()
    clients.remove(second, exempt=False)
    await waiting
