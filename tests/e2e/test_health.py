"""Requests that fail, with the real processes: no client takes servers out of service, and a server
that fails what others answer goes, and comes back."""

import concurrent.futures
import functools
import time

import pytest

from tests.support.command import wait_until
from tests.support.failing_server import CASES, failing_servers
from tests.support.failures import ask, start_router, states, try_to_ask, wait_for_models
from tests.support.standins import standin_process

SPACING = 0.04
"""Seconds between two requests of one client, so that they are no single moment."""
BAD_REQUESTS = 75
"""Of one client: 3 s of them, or 25 per server."""


@pytest.fixture(name="start")
def start_fixture(tmp_path):
    """Run a router for these servers (or entries of servers)."""
    return functools.partial(start_router, tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case not in ("good", "die", "stream", "no-key", "stopping", "large")
    ],
)
def test_one_clients_bad_requests(case, start):
    """25 in a row per server, then the same among good ones: all servers stay up."""
    settings = {"request_timeout": 0.3} if case == "silent" else {}
    with failing_servers(3) as servers, start(*servers, **settings) as router:
        wait_for_models(router, 3)
        seen = set()
        for _ in range(BAD_REQUESTS if case != "silent" else 15):
            assert try_to_ask(router, case=case) != 200 or case in ("broken-chunk",)
            seen |= states(router)
            time.sleep(SPACING)
        good = [ask(router)[0] for _ in range(30)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            bad = pool.map(lambda _: try_to_ask(router, case=case), range(30))
            for _ in range(60):
                good.append(ask(router)[0])
                seen |= states(router)
                time.sleep(SPACING / 4)
            list(bad)
        assert set(good) == {200}
        assert seen == {"up"}
        assert min(server.asked for server in servers) > 5, "each server failed some"


def test_long_requests_beside_streams(start):
    """Twelve that are not streamed and longer than `request_timeout`; the streams go on."""
    options = ("--token-interval", "0.2", "--slots", "32")
    with standin_process(*options) as first, standin_process(*options) as second:
        with start({"url": first.url}, {"url": second.url}, request_timeout=1.0) as router:
            wait_until(lambda: router.stderr().count("has models: standin") == 2)
            body = {"model": "standin", "messages": [{"role": "user", "content": "Hi"}]}
            with concurrent.futures.ThreadPoolExecutor(18) as pool:
                streams = [
                    pool.submit(ask, router, **body, max_tokens=25, stream=True) for _ in range(6)
                ]
                whole = [pool.submit(ask, router, **body, max_tokens=20) for _ in range(12)]
                seen = set()
                while not all(each.done() for each in (*streams, *whole)):
                    seen |= states(router)
                    time.sleep(0.05)
            assert [each.result()[0] for each in whole] == [504] * 12
            for each in streams:
                status, events = each.result()
                assert status == 200
                assert events.endswith(b"data: [DONE]\n\n")
            assert seen == {"up"}


def test_a_request_that_kills_its_server(start):
    with failing_servers(5) as servers, start(*servers, max_retries=4) as router:
        wait_for_models(router, 5)
        assert ask(router, case="die")[0] == 502
        assert sum(server.is_dead for server in servers) <= 2
        assert {ask(router)[0] for _ in range(30)} == {200}
        wait_until(lambda: sorted(router.statuses().values())[:2] == ["down"] * 2, 40)
        assert {ask(router)[0] for _ in range(30)} == {200}


@pytest.mark.parametrize("case", ["no-key", "no-model"])
def test_an_instant_refusal_attracts_no_traffic(case, start):
    with failing_servers(3) as servers:
        for server in servers:
            server.delay = 0.03
        broken = servers[0]
        broken.always = case
        entries = [{"url": server.url, "api_key": "secret"} for server in servers]
        with start(*entries, policy="load") as router:
            wait_for_models(router, 3)
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                got = list(pool.map(lambda _: ask(router)[0], range(400)))
            assert set(got) == {200}
            asked = [server.asked for server in servers]
            assert broken.asked < 0.2 * sum(asked), asked
            if case == "no-key":
                line = f"server {broken.url} refuses its API key: status 401; check api_key"
                assert line in router.stderr()
                assert "secret" not in router.stderr()


@pytest.mark.parametrize("policy", ["load", "random"])
def test_a_server_that_fails_what_others_answer(policy, start):
    """Its error responses are bytes that it delivers, and do not keep it in service."""
    settings = {
        "policy": policy,
        "failure_threshold": 3,
        "health_check_interval": 1,
        "auto_recovery_threshold": 2,
    }
    with failing_servers(3) as servers, start(*servers, **settings) as router:
        wait_for_models(router, 3)
        broken = servers[0]
        broken.always = "500"
        statuses: list[int] = []

        def goes_on(state: str) -> bool:
            statuses.append(ask(router)[0])
            return router.statuses()[broken.url] == state

        wait_until(lambda: goes_on("ejected"), 30)
        assert {router.statuses()[server.url] for server in servers[1:]} == {"up"}
        asked = broken.asked
        good = [ask(router)[0] for _ in range(50)]
        assert good.count(500) <= 3, "on trial it fails one request at a time"
        assert broken.asked - asked <= 3
        broken.always = None
        wait_until(lambda: goes_on("up"), 10)
        assert states(router) == {"up"}
        assert {ask(router)[0] for _ in range(30)} == {200}


def test_a_server_that_forbids_a_path_keeps_its_requests(start):
    """One client asked for it, and for 30 s the server got 3 of 120 requests of others."""
    with failing_servers(2) as servers:
        servers[0].always = "no-key"
        entries = [{"url": server.url, "api_key": "secret"} for server in servers]
        with start(*entries, policy="random") as router:
            wait_for_models(router, 2)
            assert {try_to_ask(router, path="/v1/secret") for _ in range(20)} == {200, 401}
            assert states(router) == {"up"}


def test_a_server_works_again_while_a_client_holds_its_trial(start):
    """A stream of before, or of a client that does not read, is no request on trial."""
    settings = {"failure_threshold": 3, "health_check_interval": 1, "auto_recovery_threshold": 8}
    with failing_servers(2) as servers, start(*servers, policy="random", **settings) as router:
        wait_for_models(router, 2)
        broken = servers[0]
        for server in servers:
            server.silence = 60.0
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            held = [pool.submit(try_to_ask, router, case="silent") for _ in range(8)]
            wait_until(lambda: sum(server.asked for server in servers) == 8)
            broken.always = "500"

            def goes_on(state: str) -> bool:
                ask(router)
                return router.statuses()[broken.url] == state

            wait_until(lambda: goes_on("ejected"), 30)
            broken.always = None
            wait_until(lambda: goes_on("up"), 15)
            assert router.in_flight() == 8, "they are still held"
            for server in servers:
                server.end()
            assert {each.result() for each in held} <= {0, 502}


def test_a_streams_server_lost_before_its_first_token(start):
    """The client gets one whole response: the other server's."""
    with failing_servers(2) as servers, start(*servers) as router:
        wait_for_models(router, 2)
        servers[0].always = "head-only"
        for _ in range(20):
            status, events = ask(router, case="stream")
            assert (status, events) == (200, b"data: 1\n\ndata: 2\n\n")
        assert servers[0].asked > 0
        assert router.statuses()[servers[1].url] == "up"


def test_when_all_others_are_down_the_ejected_one_is_asked(start):
    """Whatever it answers: a response of its own, and no 503 of fastroute."""
    with failing_servers(3) as servers, start(*servers, failure_threshold=3) as router:
        wait_for_models(router, 3)
        broken, *others = servers
        broken.always = "500"

        def ejected() -> bool:
            ask(router)
            return router.statuses()[broken.url] == "ejected"

        wait_until(ejected, 30)
        for server in others:
            server.end()
        got = set()

        def others_are_down() -> bool:
            got.add(ask(router)[0])
            return [router.statuses()[server.url] for server in others] == ["down"] * 2

        wait_until(others_are_down, 30)
        assert got == {500}
        assert router.statuses()[broken.url] == "ejected"
        broken.always = None
        assert [ask(router)[0] for _ in range(10)] == [200] * 10


def test_when_all_fail_requests_are_still_routed(start):
    """Not all are ejected for it, and what is left is asked."""
    with failing_servers(3) as servers, start(*servers, failure_threshold=3) as router:
        wait_for_models(router, 3)
        for server in servers:
            server.always = "stopping"
        for _ in range(75):
            assert ask(router)[0] == 500
            time.sleep(SPACING)
        assert "up" in states(router)
        for server in servers:
            server.always = None
        assert [ask(router)[0] for _ in range(30)] == [200] * 30
