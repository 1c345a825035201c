import datetime

import pytest

from fastroute.ipc.messages import StateReason
from fastroute.rules.server_state import ServerState
from fastroute.views.view import utc
from tests.support.views import NOW_NS, SECOND_NS, routed, row, view, view_of_states


class TestListed:
    def test_servers_stand_in_the_order_of_the_configuration(self):
        shown = view(row(0), row(1), servers=(routed(1), routed(0))).listed()
        assert [(listed.server.row, listed.row.row) for listed in shown] == [(1, 1), (0, 0)]

    @pytest.mark.parametrize(
        "rows",
        [
            pytest.param((), id="row-is-free"),
            pytest.param((row(3, generation=2),), id="row-is-another-servers"),
        ],
    )
    def test_a_server_without_a_row_of_its_own_is_not_shown(self, rows):
        assert view(*rows, servers=(routed(3),)).listed() == []


class TestRemoved:
    def test_rows_that_no_server_of_the_configuration_has(self):
        shown = view(row(0), row(1, in_flight=2), servers=(routed(0),))
        assert [found.row for found in shown.removed()] == [1]

    def test_the_row_of_another_generation_is_not_this_servers(self):
        shown = view(row(0, generation=2), servers=(routed(0),))
        assert [found.row for found in shown.removed()] == [0]


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param([], (), id="no-servers"),
        pytest.param([(ServerState.EJECTED, ("m",))], ("m",), id="its-only-server"),
        pytest.param(
            [(ServerState.EJECTED, ("m", "n")), (ServerState.UP, ("n",))], ("m",), id="one-of-two"
        ),
        pytest.param(
            [(ServerState.EJECTED, ("m",)), (ServerState.COOLING, ("m",))], (), id="one-cools-down"
        ),
        pytest.param(
            [(ServerState.EJECTED, ("m",)), (ServerState.DOWN, ("m",))], ("m",), id="other-down"
        ),
        pytest.param([(ServerState.DOWN, ("m",))], (), id="down-alone-gets-none"),
        pytest.param([(ServerState.EJECTED, None)], ("*",), id="models-not-known"),
    ],
)
def test_panic_models(servers, expected):
    rows = [row(number, state) for number, (state, _) in enumerate(servers)]
    entries = tuple(routed(number, models=models) for number, (_, models) in enumerate(servers))
    assert view(*rows, servers=entries).panic_models() == expected


class TestServerView:
    @pytest.mark.parametrize(
        ("state", "usable"),
        [
            (ServerState.UP, True),
            (ServerState.TRIAL, True),
            (ServerState.COOLING, True),
            (ServerState.DOWN, False),
            (ServerState.DRAINING, False),
            (ServerState.EJECTED, False),
            (ServerState.ASLEEP, False),
        ],
    )
    def test_usable(self, state, usable):
        (listed,) = view_of_states(state).listed()
        assert listed.is_usable is usable

    def test_the_score_is_the_load_for_capacity_and_weight(self):
        server = routed(0, max_concurrent_requests=4, weight=0.5)
        (listed,) = view(row(0, in_flight=3, foreign_milli=1500), servers=(server,)).listed()
        assert listed.load == 4.5
        assert listed.score == 2.25

    @pytest.mark.parametrize(
        ("reason", "shown"),
        [
            pytest.param({"row": 0, "since_ns": NOW_NS}, "3 probes failed", id="of-this-state"),
            pytest.param({"row": 0, "since_ns": NOW_NS - 1}, "", id="of-the-state-before"),
            pytest.param({"row": 1, "since_ns": NOW_NS}, "", id="of-another-server"),
        ],
    )
    def test_reason(self, reason, shown):
        reasons = (StateReason(**reason, text="3 probes failed"),)
        (listed,) = view(row(0, state_since_ns=NOW_NS), reasons=reasons).listed()
        assert listed.reason == shown

    @pytest.mark.parametrize(
        ("cells", "usage"),
        [
            pytest.param({"kv_cache_ppm": 250_000}, 0.25, id="known"),
            pytest.param({"kv_cache_ppm": 0}, 0.0, id="empty"),
            pytest.param({"kv_cache_ppm": -1}, None, id="not-told"),
            pytest.param({"kv_cache_ppm": 0, "scraped_at_ns": 0}, None, id="never-scraped"),
        ],
    )
    def test_kv_cache_usage(self, cells, usage):
        (listed,) = view(row(0, **cells)).listed()
        assert listed.kv_cache_usage == usage


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        pytest.param(0, None, id="never"),
        pytest.param(NOW_NS - 3 * SECOND_NS // 2, 1.5, id="before"),
        pytest.param(NOW_NS + 1, 0.0, id="after-the-clock-was-read"),
    ],
)
def test_seconds_since(moment, seconds):
    assert view().seconds_since(moment) == seconds


def test_utc():
    assert utc(0.5) == datetime.datetime(1970, 1, 1, 0, 0, 0, 500_000, datetime.UTC)
