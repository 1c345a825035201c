"""Choosing a server, with the reading of the score table that it takes."""

import pytest

from benchmarks.comparison import traffic

BODY = traffic.chat_request(1024)


@pytest.mark.parametrize("servers", [4, 8, 200])
def test_choose(benchmark, make_worker, servers):
    state = make_worker(servers).state
    router = state.router
    for server in router.servers:
        state.cells.in_flight[server.row] = 3 + server.row * 7 % 11
    free = router.servers[servers // 2]
    state.cells.in_flight[free.row] = 1
    group, _, _ = router.find(traffic.CHAT_PATH.encode(), b"application/json", BODY)
    assert benchmark(router.choose, group, []) is free


@pytest.mark.parametrize("servers", [4, 8, 200])
def test_choose_among_equals(benchmark, make_worker, servers):
    router = make_worker(servers).state.router
    group, _, _ = router.find(traffic.CHAT_PATH.encode(), b"application/json", BODY)
    assert benchmark(router.choose, group, []) in router.servers


def test_find_model(benchmark, make_worker):
    router = make_worker(4).state.router
    group, body = benchmark(router.find, traffic.CHAT_PATH.encode(), b"application/json", BODY)
    assert len(group.servers) == 4
    assert body == BODY
