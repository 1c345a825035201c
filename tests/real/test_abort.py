"""A client's disconnect stops its generation on vLLM."""

import pytest

from tests.real.router_process import RouterProcess
from tests.real.vllm_server import SLOTS, VllmServer
from tests.real.waiting import wait_until
from tests.real.wire import WireConnection, completion

pytestmark = pytest.mark.real

# Seconds from the client's close until the server reports nothing running. Of these fastroute
# has 50 ms; the rest is vLLM's own, which direct clients see too.
LIMIT = 0.2
# Far more tokens than any test here waits for.
LONG = 4000


def busy(servers: list[VllmServer]) -> int:
    """Return the requests that run or wait on the servers."""
    return sum(server.running() + server.waiting() for server in servers)


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("events", [0, 1, 20], ids=["unread", "first-event", "mid-stream"])
def test_stream(router: RouterProcess, servers: list[VllmServer], measured, events, ending):
    """With `unread` it disconnects without reading a byte; the generation has started."""
    with WireConnection(router.port) as connection:
        connection.send(completion(LONG))
        if events:
            assert len(connection.read_reply(until_chunks=events).chunks) == events
        wait_until(lambda: busy(servers) == 1, 5)
        getattr(connection, ending)()
        measured(f"nothing running after {wait_until(lambda: busy(servers) == 0, LIMIT):.3f} s")


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_plain_request(router: RouterProcess, servers: list[VllmServer], measured, ending):
    """No byte of the response exists yet, so only the upstream's close can notify vLLM."""
    with WireConnection(router.port) as connection:
        connection.send(completion(LONG, stream=False))
        wait_until(lambda: busy(servers) == 1, 5)
        getattr(connection, ending)()
        measured(f"nothing running after {wait_until(lambda: busy(servers) == 0, LIMIT):.3f} s")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_gone_at_once(router: RouterProcess, servers: list[VllmServer], stream):
    """The close follows the request immediately: in fastroute it may precede the connection."""
    finished = sum(server.finished() for server in servers)
    for _ in range(20):
        with WireConnection(router.port) as connection:
            connection.send(completion(LONG, stream=stream))
    # In any case all end soon, and none of them ran to its end.
    wait_until(lambda: router.in_flight() == 0, 1)
    wait_until(lambda: busy(servers) == 0, 1)
    assert sum(server.finished() for server in servers) == finished


def test_many_at_once(router: RouterProcess, servers: list[VllmServer], measured):
    """More streams than the servers have slots: running and waiting ones all end."""
    connections = [WireConnection(router.port) for _ in range(2 * SLOTS + 8)]
    for connection in connections:
        connection.send(completion(LONG))
    wait_until(lambda: busy(servers) == len(connections), 10)
    assert [server.running() for server in servers] == [SLOTS, SLOTS]
    for connection in connections:
        connection.close()
    # vLLM drops 40 requests one by one; directly it takes about as long.
    after = wait_until(lambda: busy(servers) == 0, 1)
    measured(f"{len(connections)} streams closed, nothing running after {after:.3f} s")


def test_only_the_leaver_is_stopped(router: RouterProcess, servers: list[VllmServer]):
    """Other requests on the same server, and later ones, are not affected."""
    with WireConnection(router.port) as stays, WireConnection(router.port) as leaves:
        stays.send(completion(150))
        leaves.send(completion(LONG))
        leaves.read_reply(until_chunks=5)
        leaves.close()
        reply = stays.read_reply()
        assert reply.chunks[-1] == b"data: [DONE]\n\n"
        stays.send(completion(3))
        assert stays.read_reply().chunks[-1] == b"data: [DONE]\n\n"
