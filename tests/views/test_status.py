import orjson
import pytest

from fastroute.ipc.messages import FollowedName, ServerHealth, StateReason
from fastroute.rules.server_state import ServerState
from fastroute.views.status import health, live, ready, server_models
from tests.support.views import NOW_NS, NOW_UNIX, SECOND_NS, routed, row, view, view_of_states

UP, DOWN, TRIAL = ServerState.UP, ServerState.DOWN, ServerState.TRIAL
COOLING, DRAINING = ServerState.COOLING, ServerState.DRAINING
EJECTED, ASLEEP = ServerState.EJECTED, ServerState.ASLEEP


def test_live_says_so_while_all_are_down():
    status, body, content_type, _ = live(view_of_states(DOWN))
    assert (status, content_type) == (200, "application/json")
    assert orjson.loads(body) == {"status": "alive", "version": "1.2.3"}


class TestReady:
    @pytest.mark.parametrize(
        ("states", "status"),
        [
            pytest.param((), 503, id="no-servers"),
            pytest.param((DOWN, DRAINING), 503, id="none-usable"),
            pytest.param((DOWN, UP), 200, id="one-up"),
            pytest.param((TRIAL,), 200, id="on-trial"),
            pytest.param((COOLING,), 200, id="full-but-there"),
            pytest.param((EJECTED, DOWN), 200, id="panic-mode"),
            pytest.param((ASLEEP, DOWN), 503, id="asleep"),
        ],
    )
    def test_by_servers(self, states, status):
        reply = ready(view_of_states(*states))
        assert reply.status == status
        word = "ready" if status == 200 else "no usable server"
        assert orjson.loads(reply.body) == {"status": word}

    def test_not_while_draining(self):
        reply = ready(view(row(0), draining=True))
        assert reply.status == 503
        assert orjson.loads(reply.body) == {"status": "draining"}


class TestHealth:
    @pytest.mark.parametrize(
        ("states", "status", "word", "score"),
        [
            pytest.param((), 503, "no_servers", 0.0, id="no-servers"),
            pytest.param((UP,), 200, "healthy", 1.0, id="all"),
            pytest.param((UP,) * 4 + (DOWN,), 200, "healthy", 0.8, id="from-80-percent"),
            pytest.param((UP,) * 7 + (DOWN,) * 2, 200, "degraded", 0.7778, id="below-80"),
            pytest.param((UP, DOWN), 200, "degraded", 0.5, id="from-50-percent"),
            pytest.param((UP, DOWN, DOWN), 200, "unhealthy", 0.3333, id="below-50"),
            pytest.param((DOWN, DRAINING), 503, "unhealthy", 0.0, id="none"),
            pytest.param((COOLING, TRIAL), 200, "healthy", 1.0, id="busy-is-not-dead"),
            pytest.param((UP, EJECTED), 200, "degraded", 0.5, id="one-ejected"),
            pytest.param((EJECTED, DOWN), 200, "unhealthy", 0.0, id="panic-mode"),
            pytest.param((ASLEEP,), 503, "unhealthy", 0.0, id="asleep"),
        ],
    )
    def test_overall(self, states, status, word, score):
        reply = health(view_of_states(*states))
        report = orjson.loads(reply.body)
        assert reply.status == status
        assert (report["status"], report["health_score"]) == (word, score)
        assert report["total_servers"] == len(states)
        assert report["healthy_servers"] == sum(server["healthy"] for server in report["servers"])

    @pytest.mark.parametrize(
        ("state", "healthy", "word"),
        [
            (UP, True, "healthy"),
            (TRIAL, True, "recovering"),
            (COOLING, True, "busy"),
            (DRAINING, False, "draining"),
            (DOWN, False, "unhealthy"),
            (EJECTED, False, "ejected"),
            (ASLEEP, False, "asleep"),
        ],
    )
    def test_server_by_state(self, state, healthy, word):
        (server,) = orjson.loads(health(view_of_states(state)).body)["servers"]
        assert (server["healthy"], server["health_status"]) == (healthy, word)

    @pytest.mark.parametrize(
        ("states", "expected"), [((EJECTED, UP), []), ((EJECTED, DOWN), ["*"])]
    )
    def test_panic_models(self, states, expected):
        assert orjson.loads(health(view_of_states(*states)).body)["panic_models"] == expected

    def test_what_checks_found(self):
        server = routed(0, models=("a", "b"))
        reason = StateReason(row=0, since_ns=NOW_NS - 60 * SECOND_NS, text="3 probes failed")
        found = ServerHealth(
            last_check=NOW_UNIX,
            consecutive_failures=3,
            success_rate=0.7,
            avg_response_time=0.25,
            last_response_time=0.5,
            total_checks=10,
            models_last_updated=NOW_UNIX - 60,
        )
        shown = view(row(0, DOWN), servers=(server,), health={server.url: found}, reasons=(reason,))
        assert orjson.loads(health(shown).body)["servers"] == [
            {
                "url": "http://gpu-0:8000",
                "discovered_from": None,
                "healthy": False,
                "health_status": "unhealthy",
                "state_reason": "3 probes failed",
                "last_check": "2026-01-01T00:00:00.250000Z",
                "consecutive_failures": 3,
                "success_rate": 0.7,
                "avg_response_time": 0.25,
                "last_response_time": 0.5,
                "total_checks": 10,
                "supported_models": ["a", "b"],
                "models_last_updated": "2025-12-31T23:59:00.250000Z",
            }
        ]

    def test_names(self):
        names = (
            FollowedName(url="http+dns://a:1", addresses=("10.0.0.1",), resolved=True),
            FollowedName(url="http+dns://b:1", warning="it has no address"),
        )
        server = routed(0, "http://10.0.0.1:1", discovered_from="http+dns://a:1")
        report = orjson.loads(health(view(row(0), servers=(server,), names=names)).body)
        assert report["servers"][0]["discovered_from"] == "http+dns://a:1"
        good = {"url": "http+dns://a:1", "resolved": True, "addresses": ["10.0.0.1"]}
        bad = {"url": "http+dns://b:1", "resolved": False, "addresses": []}
        assert report["dns_names"] == [
            good | {"warning": None},
            bad | {"warning": "it has no address"},
        ]

    def test_before_the_first_check(self):
        (server,) = orjson.loads(health(view(row(0))).body)["servers"]
        assert server["total_checks"] == 0
        for key in ("last_check", "last_response_time", "supported_models", "models_last_updated"):
            assert server[key] is None


class TestServerModels:
    def test_who_has_what(self):
        servers = (
            routed(0, models=("a", "b")),
            routed(1, models=("b",)),
            routed(2, models=()),
            routed(3),
        )
        found = {servers[0].url: ServerHealth(models_last_updated=NOW_UNIX)}
        shown = view(
            row(0),
            row(1, DOWN),
            row(2),
            row(3),
            servers=servers,
            health=found,
            aliases={"gpt-4o": "a"},
        )
        reply = server_models(shown)
        assert reply.status == 200
        assert orjson.loads(reply.body) == {
            "servers": [
                _has("gpu-0", True, ["a", "b"], "2026-01-01T00:00:00.250000Z"),
                _has("gpu-1", False, ["b"]),
                _has("gpu-2", True, []),
                _has("gpu-3", True, None),
            ],
            "models": {
                "a": ["http://gpu-0:8000"],
                "b": ["http://gpu-0:8000", "http://gpu-1:8000"],
            },
            "aliases": {"gpt-4o": "a"},
        }

    def test_no_servers(self):
        assert orjson.loads(server_models(view()).body)["servers"] == []


def _has(name, healthy, models, updated=None):
    return {
        "url": f"http://{name}:8000",
        "healthy": healthy,
        "models": models,
        "models_last_updated": updated,
    }
