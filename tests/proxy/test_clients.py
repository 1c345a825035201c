import asyncio

import pytest

from fastroute.proxy.clients import Clients, network_of


class Connection:
    def sweep(self, now: float) -> None: ...

    def drain(self) -> None: ...

    def cut(self) -> bool:
        return False

    def held_bytes(self) -> int:
        return 0

    def __init__(self, idle_since: float | None = None, gives_way: bool = True) -> None:
        self.since = idle_since
        self.gives_way = gives_way
        self.gave_way = False

    def idle_since(self) -> float | None:
        return self.since

    def give_way(self) -> bool:
        self.gave_way = self.gives_way
        return self.gives_way


@pytest.fixture(name="number")
def number_fixture():
    return memoryview(bytearray(8)).cast("q")


def test_counts(number):
    clients, first, second = Clients(number), Connection(), Connection()
    clients.add(first)
    clients.add(second)
    assert (len(clients), number[0], set(clients)) == (2, 2, {first, second})
    assert not clients.have_room(2, 0.5)
    clients.exempt()
    assert clients.have_room(2, 0.5)
    clients.remove(second, exempt=True)
    assert (len(clients), number[0]) == (1, 1)
    assert not clients.have_room(1, 0.5)
    assert clients.have_room(2, 0.5)


def test_the_one_idle_for_longest_gives_way(number):
    clients = Clients(number)
    busy, oldest, stubborn, changed, last = (
        Connection(),
        Connection(3.0),
        Connection(1.0, gives_way=False),
        Connection(2.0),
        Connection(5.0),
    )
    for each in (busy, last, oldest, stubborn, changed):
        clients.add(each)
    assert clients.have_room(5, 10.0)
    assert changed.gave_way
    assert clients.have_room(5, 10.0)
    assert oldest.gave_way
    last.since = 6.0  # it was used meanwhile
    assert not clients.have_room(5, 10.0), "not sorted again before the next timer tick"
    assert clients.have_room(5, 10.5)
    assert not busy.gave_way


def test_connections_of_a_network(number):
    clients = Clients(number)
    assert [clients.enter(b"a"), clients.enter(b"a"), clients.enter(b"b")] == [1, 2, 1]
    clients.leave(b"a")
    assert clients.enter(b"a") == 2
    for network in (b"a", b"a", b"b"):
        clients.leave(network)
    assert clients.enter(b"b") == 1


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        (b"192.0.2.1", b"192.0.2.1", True),
        (b"192.0.2.1", b"192.0.2.2", False),
        (b"2001:db8::1", b"2001:db8::ffff:1", True),
        (b"2001:db8::1", b"2001:db8:0:1::1", False),
        (b"fe80::1%eth0", b"fe80::2%eth0", True),
        (b"unknown", b"unknown", True),
    ],
)
def test_networks(address, other, same):
    assert (network_of(address) == network_of(other)) is same


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
