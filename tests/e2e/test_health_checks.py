"""Health checks of servers that answer them in other ways, with the real processes."""

import functools
import json
import urllib.error

import pytest

from tests.support.command import wait_until
from tests.support.failing_server import failing_servers
from tests.support.failures import ask, start_router, states

FAST = {"health_check_interval": 0.2, "scrape_interval": 0.2, "models_refresh_interval": 0.2}


@pytest.fixture(name="start")
def start_fixture(tmp_path):
    """Run a router for these servers, which checks them often."""
    return functools.partial(start_router, tmp_path, **FAST)


def checks(router) -> int:
    """Return the number of health checks of its only server so far."""
    try:
        [server] = router.get("/health")["servers"]
    except urllib.error.HTTPError as answer:  # 503: no server is healthy
        [server] = json.load(answer)["servers"]
    return server["total_checks"]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_health_is_asked_for_its_models(status, start):
    with failing_servers(1) as [server]:
        server.health = status
        with start(server) as router:
            wait_until(lambda: checks(router) > 3)
            assert states(router) == {"up"}


@pytest.mark.parametrize("status", [301, 401, 403, 500, 503])
def test_other_answers_mark_it_down_and_the_log_names_the_remedy(status, start):
    with failing_servers(1) as [server]:
        server.health = status
        with start(server) as router:
            wait_until(lambda: states(router) == {"down"})
            assert f"/health returned {status}, not 2xx" in router.stderr()
            assert "health_path" in router.stderr()
            server.health = 200
            wait_until(lambda: states(router) == {"up"})


def test_a_proxy_without_its_server(start):
    """It accepts connections and closes them: each check failed with a traceback, and so counted
    for nothing."""
    with failing_servers(1) as [server]:
        server.hangs_up = True
        with start(server) as router:
            wait_until(lambda: states(router) == {"down"})
            before = checks(router)
            wait_until(lambda: checks(router) > before)
            log = router.stderr()
            server.hangs_up = False
            wait_until(lambda: states(router) == {"up"})
            assert ask(router)[0] == 200
        assert "Traceback" not in log
        assert "health checks in a row failed" in log


def test_statuses_and_paths_of_a_server_of_ones_own(start):
    with failing_servers(1) as [server]:
        server.health = 401
        entry = {"url": server.url, "health_statuses": [401]}
        with start(entry) as router:
            wait_until(lambda: checks(router) > 3)
            assert states(router) == {"up"}
