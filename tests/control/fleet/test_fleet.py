import logging

import msgspec
import pytest

from fastroute.config import Config, ServerConfig
from fastroute.control.fleet.fleet import ROW_GRACE, SETTLING, Fleet
from fastroute.control.watch.models import MAX_MODELS, parse_models
from fastroute.control.watch.prober import Probe
from fastroute.errors import ConfigError
from fastroute.ipc.messages import ConfigState, Observed
from fastroute.ipc.score_table import ScoreTable
from fastroute.ipc.table_layout import MODEL_SLOTS
from fastroute.rules.evidence import COMPARED, Event
from fastroute.rules.load import LoadReport
from fastroute.rules.server_state import ServerState
from tests.support.hostile_server import many_models, model_list

GOOD = Probe(True, False, 0.01, "", "/health")
REFUSED = Probe(False, False, 0.0, "cannot connect: Connection refused", "/health")
SLOW = Probe(False, True, 10.0, "no response within 10 s", "/health")
STATE = ConfigState()


class FleetUnderTest:
    """A fleet with a fixed clock, and a table whose worker cells the test writes."""

    def __init__(self, *servers: ServerConfig, rows: int = 8, workers: int = 2, **settings) -> None:
        self.table = ScoreTable.create(rows=rows, workers=workers)
        self.now = 1000.0
        self.changes = 0
        self.state_changes = 0
        self.checks = 0
        config = Config(servers=servers, **settings)
        self.fleet = Fleet(
            self.table, config, clock=lambda: self.now, unix_clock=lambda: 1e9 + self.now
        )
        self.fleet.notify(
            changed=self._changed, state_changed=self._state_changed, checked=self._checked
        )

    def _changed(self) -> None:
        self.changes += 1

    def _state_changed(self) -> None:
        self.state_changes += 1

    def _checked(self) -> None:
        self.checks += 1

    def apply(self, *servers: ServerConfig, **settings):
        return self.fleet.apply(Config(servers=servers, **settings))

    def server(self, url: str = "http://a"):
        return self.fleet.servers[ServerConfig(url=url).address]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.fleet.tick()

    def state(self, url: str = "http://a") -> str:
        row = self.server(url).row
        return ServerState(self.table.servers.state[row]).name

    def column(self, name: str, url: str = "http://a") -> int:
        return getattr(self.table.servers, name)[self.server(url).row]

    def count(self, counter: str, amount: int, url: str = "http://a", worker: int = 0) -> None:
        """Increase a worker's counters."""
        getattr(self.table.worker_cells(worker), counter)[self.server(url).row] += amount

    def scrape(self, own: int = 0, url: str = "http://a", **report) -> None:
        fields = {"running": 0, "waiting": 0, "generation_tokens": 0, "prompt_tokens": 0, **report}
        self.server(url).load.scraped(LoadReport(**fields), own, int(self.now * 1e9))

    def observe(
        self,
        kind: Event,
        detail: str = "why",
        retry_after: float = 0.0,
        url: str = "http://a",
        model: str = "",
    ) -> None:
        server = self.server(url)
        seen = Observed(
            row=server.row,
            generation=server.generation,
            kind=kind,
            detail=detail,
            model=model,
            retry_after=retry_after,
        )
        self.fleet.observe(seen)

    def reason(self, url: str = "http://a") -> str:
        """Why a server is in its state, as the views find it."""
        key = (self.server(url).row, self.column("state_since_ns", url))
        reasons = {(each.row, each.since_ns): each.text for each in self.fleet.reasons().reasons}
        return reasons.get(key, "")

    def routed(self):
        return self.fleet.configure(STATE).servers


@pytest.fixture(name="make")
def make_fixture():
    """Create fleets; their tables are closed at the end."""
    made = []

    def make(*servers, **options) -> FleetUnderTest:
        made.append(FleetUnderTest(*(servers or (a(),)), **options))
        return made[-1]

    yield make
    for each in made:
        each.table.close()


@pytest.fixture(name="log")
def log_fixture(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.message for record in caplog.records]


def a(**fields) -> ServerConfig:
    return ServerConfig(url="http://a", **fields)


def b(**fields) -> ServerConfig:
    return ServerConfig(url="http://b", **fields)


def listing(*names: str):
    data = [{"id": name, "object": "model", "max_model_len": 8192} for name in names]
    return parse_models(msgspec.json.encode({"object": "list", "data": data}))


class TestStart:
    def test_all_are_up_and_have_a_row(self, make):
        fleet = make(a(max_concurrent_requests=3), b(weight=2.0, api_key="k"))
        first, second = fleet.routed()
        assert (first.row, first.generation, first.url) == (0, 1, "http://a")
        assert (second.row, second.weight, second.api_key, second.models) == (1, 2.0, "k", None)
        assert fleet.column("capacity") == 3
        assert fleet.column("kv_cache_ppm") == -1
        assert fleet.column("state_since_ns") == 1000 * 10**9
        assert fleet.state() == fleet.state("http://b") == "UP"

    def test_one_that_is_drained(self, make):
        fleet = make(a(drain=True))
        assert fleet.state() == "DRAINING"
        assert fleet.reason() == "drain = true"

    def test_too_many(self):
        with pytest.raises(ConfigError, match="2 servers are new, and there is room for 1 more"):
            FleetUnderTest(a(), b(), rows=1)


class TestApply:
    def test_added(self, make):
        fleet = make()
        comings = fleet.apply(a(), b())
        assert comings.added == (fleet.server("http://b"),)
        assert comings.removed == ()
        assert fleet.changes == 1
        assert [server.row for server in fleet.routed()] == [0, 1]

    def test_the_order_is_that_of_the_file(self, make):
        fleet = make()
        fleet.apply(b(), a())
        assert [server.url for server in fleet.routed()] == ["http://b", "http://a"]

    @pytest.mark.parametrize("how", ["told", "failed", "late"])
    def test_models_count_when_all_have_told(self, how, make):
        """Otherwise the first server with known models would get all requests at the start."""
        fleet = make(a(), b())
        fleet.server("http://a").models.models_listed(listing("m"))
        assert [server.models for server in fleet.routed()] == [None, None]
        changes = fleet.changes
        if how == "told":
            fleet.server("http://b").models.models_listed(listing("n"))
        elif how == "failed":
            fleet.server("http://b").models.listing_failed("it does not say")
        else:
            fleet.pass_time(SETTLING)
        assert fleet.changes > changes
        others = ("n",) if how == "told" else None
        assert [server.models for server in fleet.routed()] == [("m",), others]

    def test_models_of_servers_that_dns_has_still_to_find_are_waited_for(self, make):
        fleet = make()
        fleet.apply()
        assert fleet.routed() == ()
        fleet.apply(a(), b())
        fleet.server().models.models_listed(listing("m"))
        assert [server.models for server in fleet.routed()] == [None, None]

    def test_what_is_known_is_kept(self, make):
        fleet = make()
        before = fleet.server()
        for _ in range(3):
            before.probed(REFUSED)
        before.models.models_listed(listing("m"))
        fleet.pass_time(SETTLING)
        comings = fleet.apply(ServerConfig(url="HTTP://A:80/", max_concurrent_requests=99), b())
        assert comings.removed == ()
        (first, _) = fleet.routed()
        assert (first.row, first.generation) == (before.row, before.generation)
        assert (fleet.state(), first.models) == ("DOWN", ("m",))
        assert (first.url, first.max_concurrent_requests) == ("HTTP://A:80/", 99)
        assert fleet.column("capacity") == 99

    def test_drain_and_back(self, make, log):
        fleet = make()
        fleet.apply(a(drain=True))
        assert fleet.state() == "DRAINING"
        fleet.apply(a())
        assert fleet.state() == "UP"
        assert log() == [
            "server http://a is DRAINING: drain = true",
            "server http://a is UP: drain = false",
        ]

    def test_drained_and_back_is_tried_again(self, make):
        """Whatever ejected it: the operator has had a look at it."""
        fleet = make(a(), b())
        fleet.observe(Event.SHUTTING_DOWN)
        assert fleet.state() == "EJECTED"
        fleet.apply(a(drain=True), b())
        fleet.apply(a(), b())
        assert fleet.state() == "TRIAL"

    def test_health_goes_on_while_drained(self, make):
        fleet = make(a(drain=True))
        for _ in range(3):
            fleet.server().probed(REFUSED)
        assert fleet.state() == "DRAINING"
        fleet.apply(a())
        assert fleet.state() == "DOWN"

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            pytest.param({"api_key": "other"}, "TRIAL", id="api-key"),
            pytest.param({"health_path": "/ping"}, "TRIAL", id="health-path"),
            pytest.param({"health_statuses": (204,)}, "TRIAL", id="health-statuses"),
            pytest.param({"weight": 2.0}, "EJECTED", id="weight"),
            pytest.param({"max_concurrent_requests": 2}, "EJECTED", id="capacity"),
            pytest.param({}, "EJECTED", id="none"),
        ],
    )
    def test_a_change_of_its_entry_has_an_ejected_server_tried_again(self, changes, state, make):
        fleet = make(a(), b())
        fleet.observe(Event.SHUTTING_DOWN)
        fleet.server().probe_now.clear()
        fleet.apply(a(**changes), b())
        assert fleet.state() == state
        assert fleet.server().probe_now.is_set() is (state == "TRIAL")

    def test_a_change_of_its_entry_has_a_server_that_is_down_checked_at_once(self, make):
        fleet = make(a(), b())
        for _ in range(3):
            fleet.server().probed(REFUSED)
        fleet.server().probe_now.clear()
        fleet.apply(a(health_path="/ping"), b())
        assert fleet.server().probe_now.is_set()
        assert fleet.state() == "DOWN", "until the check says otherwise"

    @pytest.mark.parametrize(
        ("settings", "state"),
        [
            pytest.param({"failure_threshold": 9}, "TRIAL", id="failure_threshold"),
            pytest.param({"max_ejection_percent": 10.0}, "TRIAL", id="max_ejection_percent"),
            pytest.param({"auto_recovery_threshold": 9.0}, "TRIAL", id="auto_recovery_threshold"),
            pytest.param({"stall_timeout": 9.0}, "EJECTED", id="other-cause"),
            pytest.param({"policy": "random"}, "EJECTED", id="other-setting"),
        ],
    )
    def test_a_change_of_settings_that_concern_the_cause(self, settings, state, make):
        fleet = make(a(), b())
        fleet.observe(Event.SHUTTING_DOWN)
        fleet.apply(a(), b(), **settings)
        assert fleet.state() == state

    def test_new_limits_of_health(self, make):
        fleet = make()
        fleet.apply(a(), health_check_consecutive_failures=1)
        fleet.server().probed(REFUSED)
        assert fleet.state() == "DOWN"

    def test_no_room_changes_nothing(self, make):
        fleet = make(rows=2)
        config = fleet.fleet.config
        with pytest.raises(ConfigError, match="2 servers are new, and there is room for 1 more"):
            fleet.apply(b(), ServerConfig(url="http://c"))
        assert fleet.fleet.config is config
        assert fleet.state() == "UP"
        assert fleet.changes == 0


class TestRemoved:
    def test_gets_nothing_and_keeps_its_row_until_its_last_request_is_over(self, make):
        fleet = make(a(), b())
        row = fleet.server().row
        fleet.count("in_flight", 2, worker=1)
        (removed,) = fleet.apply(b()).removed
        assert removed.config.url == "http://a"
        assert [server.url for server in fleet.routed()] == ["http://b"]
        for _ in range(20):
            fleet.pass_time(1)
            assert fleet.table.servers.state[row] == ServerState.DRAINING
        fleet.table.worker_cells(1).in_flight[row] = 0
        fleet.pass_time(0)
        assert fleet.table.servers.state[row] == ServerState.FREE
        assert fleet.table.servers.state[1] == ServerState.UP

    def test_keeps_its_row_while_workers_may_not_know(self, make):
        fleet = make(a(), b())
        fleet.apply(b())
        fleet.pass_time(ROW_GRACE - 0.1)
        assert fleet.table.servers.state[0] == ServerState.DRAINING
        fleet.pass_time(0.1)
        assert fleet.table.servers.state[0] == ServerState.FREE

    def test_a_row_is_given_again_with_another_generation_and_no_old_numbers(self, make):
        fleet = make(a(), b())
        fleet.scrape(running=5, kv_cache_usage=0.5)
        fleet.server().load.scrape_failed("why")
        fleet.apply(b())
        fleet.pass_time(ROW_GRACE)
        fleet.apply(b(), ServerConfig(url="http://c"))
        assert [(s.row, s.generation) for s in fleet.routed()] == [(1, 1), (0, 2)]
        snapshot = fleet.table.snapshot().servers[0]
        assert (snapshot.running, snapshot.foreign_milli, snapshot.scraped_at_ns) == (0, 0, 0)
        assert (snapshot.kv_cache_ppm, snapshot.scrape_failures) == (-1, 0)

    def test_one_that_comes_back_meanwhile_is_the_same(self, make):
        fleet = make(a(), b())
        before = fleet.server()
        fleet.count("in_flight", 1)
        fleet.apply(b())
        fleet.pass_time(60)
        comings = fleet.apply(a(), b())
        assert comings.added == (before,)
        assert fleet.state() == "UP"
        fleet.count("in_flight", -1)
        fleet.pass_time(60)
        assert fleet.state() == "UP"
        assert not fleet.fleet.leaving

    def test_reloads_without_end_need_no_more_rows_than_servers(self, make):
        fleet = make(a(), b(), rows=3)
        for _ in range(50):
            fleet.apply(b())
            fleet.apply(a(), b())
            fleet.pass_time(0.1)
        assert {server.row for server in fleet.routed()} == {0, 1}

    def test_what_workers_say_of_it_is_no_news(self, make):
        fleet = make(a(), b(), failure_threshold=1)
        server = fleet.server()
        seen = Observed(row=server.row, generation=1, kind=Event.REQUEST_FAILED)
        fleet.apply(b())
        changes = fleet.changes
        fleet.fleet.observe(seen)
        fleet.pass_time(ROW_GRACE)
        fleet.fleet.observe(seen)
        fleet.apply(b(), ServerConfig(url="http://c"))
        fleet.fleet.observe(seen)  # Of the previous generation.
        assert fleet.state("http://c") == "UP"
        assert fleet.changes == changes + 1


class TestProbes:
    def test_down_by_probes_and_back(self, make, log):
        fleet = make()
        server = fleet.server()
        for _ in range(3):
            server.probed(REFUSED)
        assert fleet.state() == "DOWN"
        reason = fleet.reason()
        assert reason == "3 health checks in a row failed: cannot connect: Connection refused"
        server.models.list_now.clear()
        server.probed(GOOD)
        assert fleet.state() == "TRIAL"
        assert server.models.list_now.is_set(), "it may have other models now"
        server.probed(GOOD)
        assert fleet.state() == "UP"
        assert log() == [
            f"server http://a is DOWN: {reason}",
            "server http://a is TRIAL: a health check succeeded",
            "server http://a is UP: a health check succeeded",
        ]
        assert fleet.state_changes == 3
        assert fleet.changes == 0, "states go by the table alone"

    def test_results_are_told_each_time(self, make):
        fleet = make()
        fleet.server().probed(GOOD)
        fleet.now += 5
        fleet.server().probed(REFUSED)
        assert fleet.checks == 2
        report = fleet.fleet.health().servers["http://a"]
        assert report.last_check == 1e9 + 1005
        assert (report.total_checks, report.consecutive_failures) == (2, 1)
        assert (report.success_rate, report.avg_response_time) == (0.5, 0.01)

    def test_the_interval(self, make):
        server = make().server()
        intervals = [server.probe_interval]
        for probe in (REFUSED, GOOD, REFUSED, REFUSED, REFUSED, GOOD, GOOD):
            server.probed(probe)
            intervals.append(server.probe_interval)
        assert intervals == [10, 2, 10, 2, 2, 2, 1, 10]

    def test_a_probe_is_not_followed_by_another_at_once(self, make):
        server = make(health_check_consecutive_failures=1).server()
        for probe in (REFUSED, GOOD, GOOD):
            server.probed(probe)
            assert not server.probe_now.is_set()

    def test_but_one_that_was_asked_for_meanwhile_is_made(self, make):
        server = make().server()
        server.probe_now.set()
        server.probed(GOOD)
        assert server.probe_now.is_set()

    @pytest.mark.parametrize(
        ("delivering", "state"), [(True, "UP"), (False, "DOWN")], ids=["busy", "silent"]
    )
    def test_busy_is_not_dead(self, delivering, state, make):
        fleet = make()
        for _ in range(4):
            fleet.count("events", int(delivering), worker=1)
            fleet.pass_time(10)
            fleet.server().probed(SLOW)
        assert fleet.state() == state

    def test_refused_is_dead_however_busy_it_was(self, make):
        fleet = make()
        for _ in range(3):
            fleet.count("events", 1)
            fleet.server().probed(REFUSED)
        assert fleet.state() == "DOWN"


class TestRequests:
    def fail(self, fleet, times: int, kind=Event.REQUEST_FAILED, url: str = "http://a") -> None:
        """Have requests fail, each at a moment of its own."""
        for _ in range(times):
            fleet.observe(kind, "Connection refused", url=url)
            fleet.pass_time(0.25)

    def answer(self, fleet, times: int, url: str, slot: int = 0) -> None:
        fleet.table.worker_cells(0).proofs[slot, fleet.server(url).row] += times
        fleet.pass_time(0.25)

    def test_more_failures_than_the_peers_have(self, make):
        fleet = make(a(), b())
        self.fail(fleet, 1)
        self.answer(fleet, 30, "http://b")
        self.fail(fleet, 3)
        assert fleet.state() == "UP", "fewer than failure_threshold moments"
        self.fail(fleet, 1)
        assert fleet.state() == "EJECTED"
        assert fleet.reason() == (
            "its requests fail more often than those of the other servers: 5 of 5 requests failed, "
            "of the other servers' 0 of 30"
        )

    @pytest.mark.parametrize(
        ("failed", "state"),
        [
            pytest.param("m", "EJECTED", id="named"),
            pytest.param("", "EJECTED", id="not-named"),
            pytest.param("gone", "EJECTED", id="not-listed"),
        ],
    )
    def test_of_servers_with_known_models(self, failed, state, make):
        fleet = make(a(), b())
        for url in ("http://a", "http://b"):
            fleet.server(url).models.models_listed(
                parse_models(b'{"data":[{"id":"m"},{"id":"n"}]}')
            )
        fleet.fleet.configure(STATE)
        fleet.pass_time(0.25)
        for _ in range(6):
            self.answer(fleet, 30, "http://b", slot=1 if failed == "m" else 0)
            fleet.observe(Event.REQUEST_FAILED, model=failed)
        fleet.pass_time(0.25)
        assert fleet.state() == state

    def test_a_burst_is_one_piece_of_evidence(self, make):
        fleet = make(a(), b())
        self.fail(fleet, 1)
        self.answer(fleet, 30, "http://b")
        for _ in range(100):
            fleet.observe(Event.REQUEST_FAILED)
        fleet.pass_time(0.25)
        assert fleet.state() == "UP"

    @pytest.mark.parametrize("kind", COMPARED, ids=lambda kind: kind.name)
    def test_requests_that_fail_everywhere_eject_nobody(self, kind, make):
        fleet = make(a(), b())
        for _ in range(40):
            self.fail(fleet, 1, kind)
            self.fail(fleet, 1, kind, "http://b")
        assert fleet.state() == fleet.state("http://b") == "UP"

    @pytest.mark.parametrize("kind", COMPARED, ids=lambda kind: kind.name)
    def test_the_last_server_is_never_ejected(self, kind, make):
        fleet = make()
        self.fail(fleet, 50, kind)
        assert fleet.state() == "UP"

    @pytest.mark.parametrize(("percent", "ejected"), [(0, 0), (25, 1), (50, 2), (100, 3)])
    def test_no_more_than_max_ejection_percent(self, percent, ejected, make):
        urls = [f"http://{name}" for name in "abcd"]
        servers = [ServerConfig(url=url) for url in urls]
        fleet = make(*servers, max_ejection_percent=percent)
        self.fail(fleet, 1)
        most = 0
        for _ in range(20):
            self.answer(fleet, 30, "http://d")
            for url in urls[:3]:
                self.fail(fleet, 1, url=url)
            states = [fleet.state(url) for url in urls]
            most = max(most, states.count("EJECTED"))
        assert (most, states[3]) == (ejected, "UP")

    def test_a_server_that_delivers_is_not_ejected(self, make):
        fleet = make(a(), b())
        self.fail(fleet, 1)
        self.answer(fleet, 30, "http://b")
        for _ in range(20):
            fleet.count("events", 1)
            self.fail(fleet, 1)
        assert fleet.state() == "UP"

    def test_one_answer_on_trial_restores_it(self, make):
        fleet = make(a(), b())
        self.fail(fleet, 1)
        self.answer(fleet, 30, "http://b")
        self.fail(fleet, 5)
        assert fleet.state() == "EJECTED"
        fleet.server().probed(GOOD)
        assert fleet.state() == "EJECTED", "its health checks succeeded all the while"
        fleet.pass_time(10)
        assert fleet.state() == "TRIAL"
        fleet.observe(Event.REQUEST_OK)
        assert fleet.state() == "UP"
        self.fail(fleet, 3)
        assert fleet.state() == "UP", "the failures of before are forgotten"

    def test_the_backoff_doubles(self, make):
        fleet = make(a(), b(), auto_recovery_threshold=30)
        self.fail(fleet, 1)
        self.answer(fleet, 30, "http://b")
        self.fail(fleet, 5)
        waits = []
        for _ in range(4):
            waits.append(0.0)
            while fleet.state() == "EJECTED":
                fleet.pass_time(0.25)
                waits[-1] += 0.25
            fleet.observe(Event.REQUEST_FAILED)
        assert waits == [pytest.approx(wait, abs=0.5) for wait in (10, 20, 30, 30)]

    def test_a_failure_calls_for_a_probe(self, make):
        fleet = make()
        fleet.observe(Event.REQUEST_FAILED)
        assert fleet.server().probe_now.is_set()

    @pytest.mark.parametrize(("retry_after", "seconds"), [(0, 1), (5, 5), (600, 30)])
    def test_a_full_one_cools_down(self, retry_after, seconds, make):
        fleet = make()
        fleet.observe(Event.BUSY, "status 503", retry_after)
        assert fleet.state() == "COOLING"
        fleet.pass_time(seconds - 0.1)
        assert fleet.state() == "COOLING"
        fleet.pass_time(0.1)
        assert fleet.state() == "UP"
        assert fleet.state_changes == 2
        assert fleet.changes == 0, "states go by the table alone"

    def test_full_again_and_again_is_one_change(self, make):
        fleet = make()
        for _ in range(100):
            fleet.observe(Event.BUSY)
        assert fleet.state_changes == 1

    def test_one_that_shuts_down(self, make):
        fleet = make(a(), b())
        fleet.observe(Event.SHUTTING_DOWN, "it takes no more requests")
        assert fleet.state() == "EJECTED"
        fleet.server().probed(GOOD)
        assert fleet.state() == "EJECTED", "it answers probes until it is gone"
        for _ in range(3):
            fleet.server().probed(REFUSED)
        assert fleet.state() == "DOWN"
        fleet.server().probed(GOOD)
        assert fleet.state() == "TRIAL", "this is another process"

    def test_the_last_one_that_shuts_down_is_asked_until_it_is_gone(self, make):
        fleet = make()
        fleet.pass_time(0)
        fleet.observe(Event.SHUTTING_DOWN, "it takes no more requests")
        assert fleet.state() == "UP"

    def test_without_probes_time_brings_it_back(self, make):
        fleet = make(a(), b(), enable_active_health_check=False, auto_recovery_threshold=20)
        fleet.observe(Event.SHUTTING_DOWN)
        fleet.pass_time(9.9)
        assert fleet.state() == "EJECTED"
        fleet.pass_time(0.1)
        assert fleet.state() == "TRIAL"
        fleet.observe(Event.REQUEST_OK)
        assert fleet.state() == "UP"


def test_states_are_repeated_once_in_the_next_tick(make):
    fleet = make()
    version = fleet.table.states_version
    before = version[0]
    fleet.pass_time(0.25)
    fleet.pass_time(0.25)
    assert version[0] == before + 1, "of the start"
    fleet.observe(Event.BUSY, retry_after=9)
    assert version[0] == before + 2
    fleet.pass_time(0.25)
    fleet.pass_time(0.25)
    assert version[0] == before + 3


class TestLoad:
    def test_a_report_is_published(self, make):
        fleet = make()
        fleet.scrape(
            own=3,
            running=16,
            waiting=4,
            kv_cache_usage=0.25,
            generation_tokens=7,
            prefix_queries=8,
            prefix_hits=6,
            preemptions=1,
        )
        assert fleet.column("foreign_milli") == (16 + 2 - 3) * 1000
        assert (fleet.column("running"), fleet.column("waiting")) == (16, 4)
        assert fleet.column("kv_cache_ppm") == 250_000
        assert fleet.column("generation_tokens") == 7
        assert (fleet.column("prefix_queries"), fleet.column("prefix_hits")) == (8, 6)
        assert fleet.column("preemptions") == 1
        assert fleet.column("scraped_at_ns") == 1000 * 10**9
        assert fleet.changes == 0, "numbers go by the table alone"

    def test_what_is_not_said_is_not_made_up(self, make):
        fleet = make()
        fleet.scrape(running=1, generation_tokens=None)
        assert fleet.column("kv_cache_ppm") == -1
        assert fleet.column("generation_tokens") == 0

    def test_the_weight_of_waiting_requests(self, make):
        fleet = make(waiting_weight=2.0)
        fleet.scrape(running=1, waiting=3)
        assert fleet.column("foreign_milli") == 7000

    def test_an_old_one_is_worth_less_and_less(self, make):
        fleet = make()
        fleet.scrape(running=8)
        worth = []
        for _ in range(6):
            fleet.pass_time(1)
            worth.append(fleet.column("foreign_milli"))
        assert worth == [8000, 8000, 8000, 4000, 2000, 1000]
        fleet.pass_time(60)
        assert fleet.column("foreign_milli") == 0

    def test_own_requests_are_those_of_all_workers(self, make):
        fleet = make()
        fleet.count("in_flight", 2, worker=0)
        fleet.count("in_flight", 3, worker=1)
        assert fleet.server().own_in_flight() == 5

    def test_failures_are_counted_and_said_once(self, make, log):
        fleet = make()
        server = fleet.server()
        for _ in range(3):
            server.load.scrape_failed("no response within 2 s")
        fleet.scrape()
        assert fleet.column("scrape_failures") == 3
        assert log() == [
            "server http://a: its metrics cannot be read: no response within 2 s",
            "server http://a: its metrics are read again",
        ]

    def test_the_first_failure_calls_for_a_probe(self, make):
        server = make().server()
        server.load.scrape_failed("refused")
        assert server.probe_now.is_set()
        server.probe_now.clear()
        server.load.scrape_failed("refused")
        server.load.scrape_failed("reset")
        assert not server.probe_now.is_set()


class TestEngine:
    def test_asleep_and_awake(self, make):
        fleet = make()
        fleet.scrape(asleep=True)
        assert fleet.state() == "ASLEEP"
        assert fleet.reason() == "its engine is asleep"
        fleet.server().probed(GOOD)
        assert fleet.state() == "ASLEEP", "it answers probes in its sleep"
        fleet.scrape()
        assert fleet.state() == "TRIAL"
        fleet.server().probed(GOOD)
        assert fleet.state() == "UP"

    def test_asleep_and_its_metrics_gone(self, make):
        fleet = make()
        fleet.scrape(asleep=True)
        for _ in range(6):
            fleet.server().load.scrape_failed("refused")
            fleet.pass_time(1)
        assert fleet.state() == "ASLEEP"
        fleet.pass_time(0.1)
        assert fleet.state() == "TRIAL"

    def hang(self, fleet, seconds: float, url: str = "http://a", **report) -> None:
        """Have requests wait while a server's numbers stand still."""
        for _ in range(round(seconds)):
            fleet.scrape(url=url, **{"running": 2, "generation_tokens": 9, **report})
            fleet.server(url).probed(GOOD)
            fleet.pass_time(1)
        fleet.scrape(url=url, **{"running": 2, "generation_tokens": 9, **report})
        fleet.pass_time(0)

    def test_stalled_and_moving(self, make):
        fleet = make(stall_timeout=5)
        fleet.count("in_flight", 2)
        self.hang(fleet, 4)
        assert fleet.state() == "UP"
        self.hang(fleet, 1)
        assert fleet.state() == "EJECTED"
        assert fleet.reason() == (
            "its engine makes no progress: no byte and no token for 5 s, requests: 2"
        )
        fleet.server().probed(GOOD)
        assert fleet.state() == "EJECTED"
        fleet.scrape(running=2, generation_tokens=10)
        assert fleet.state() == "TRIAL"

    def test_stalled_and_nothing_ever_moves_again(self, make):
        """Seen: DOWN for ever, as no request was sent that could have cleared it."""
        fleet = make(stall_timeout=5, auto_recovery_threshold=20)
        fleet.count("in_flight", 2)
        self.hang(fleet, 5)
        fleet.count("in_flight", -2)
        self.hang(fleet, 9)
        assert fleet.state() == "EJECTED", "that its requests were given up is no progress"
        self.hang(fleet, 1)
        assert fleet.state() == "TRIAL"
        fleet.count("in_flight", 1)
        self.hang(fleet, 4)
        assert fleet.state() == "TRIAL", "it has the whole time once more"
        self.hang(fleet, 1)
        assert fleet.state() == "EJECTED"

    def test_stalled_and_its_metrics_gone(self, make):
        fleet = make(stall_timeout=5)
        fleet.count("in_flight", 2)
        self.hang(fleet, 5)
        assert fleet.state() == "EJECTED"
        fleet.pass_time(10)
        assert fleet.state() == "TRIAL"

    @pytest.mark.parametrize("changes", [{"stall_timeout": 0.0}, {"stall_timeout": 60.0}])
    def test_stalled_and_another_timeout(self, changes, make):
        fleet = make(stall_timeout=5)
        fleet.count("in_flight", 2)
        self.hang(fleet, 5)
        assert fleet.state() == "EJECTED"
        fleet.apply(a(), **changes)
        assert fleet.state() == "TRIAL"

    @pytest.mark.parametrize(
        ("others", "state"),
        [
            pytest.param("move", "EJECTED", id="moves"),
            pytest.param("idle", "EJECTED", id="has-no-work"),
            pytest.param("hang", "UP", id="stands-still-too"),
        ],
    )
    def test_compared_with_the_other_server(self, others, state, make):
        fleet = make(a(), b(), stall_timeout=5)
        fleet.count("in_flight", 2)
        fleet.count("in_flight", 0 if others == "idle" else 2, "http://b")
        for second in range(7):
            fleet.scrape(running=2)
            tokens = second if others == "move" else 0
            fleet.scrape(url="http://b", running=2, generation_tokens=tokens)
            fleet.pass_time(1)
        assert fleet.state() == state

    def test_bytes_are_progress(self, make):
        fleet = make(stall_timeout=5)
        fleet.count("in_flight", 2)
        for _ in range(20):
            self.hang(fleet, 1)
            fleet.count("events", 1)
        assert fleet.state() == "UP"

    def test_clients_that_do_not_read_are_excused(self, make):
        """Seen: with two such clients no server was left for 15 s, again and again."""
        fleet = make(stall_timeout=5)
        fleet.count("in_flight", 2)
        fleet.count("excused", 2)
        self.hang(fleet, 20)
        assert fleet.state() == "UP"
        fleet.count("excused", -1)
        self.hang(fleet, 5)
        assert fleet.state() == "EJECTED"
        assert fleet.reason().endswith("requests: 1")

    @pytest.mark.parametrize(
        ("timeout", "own", "report"),
        [
            pytest.param(0, 2, {}, id="switched-off"),
            pytest.param(5, 0, {}, id="only-the-gauges-of-others"),
            pytest.param(5, 0, {"running": 0}, id="nothing-to-do"),
            pytest.param(
                5, 2, {"generation_tokens": None, "prompt_tokens": None}, id="no-counters"
            ),
        ],
    )
    def test_not_stalled(self, timeout, own, report, make):
        fleet = make(stall_timeout=timeout)
        fleet.count("in_flight", own)
        self.hang(fleet, 20, **report)
        assert fleet.state() == "UP"


class TestOwnLimits:
    REASON = "cannot connect: Too many open files"

    def test_are_no_evidence(self, make):
        fleet = make()
        for _ in range(100):
            fleet.server().skipped(self.REASON)
            fleet.server().load.skipped(self.REASON)
            fleet.server().models.skipped(self.REASON)
            fleet.pass_time(1)
        assert fleet.state() == "UP"
        assert fleet.fleet.health().servers["http://a"].total_checks == 0
        assert fleet.column("scrape_failures") == 0

    def test_are_logged_once_a_minute_for_all_servers(self, make, log):
        fleet = make(a(), b())
        for _ in range(61):
            fleet.server().skipped(self.REASON)
            fleet.server("http://b").load.skipped(self.REASON)
            fleet.now += 1
        first, second = log()
        assert first == second
        assert first == (
            "servers cannot be asked now, because fastroute itself has reached a limit (cannot "
            "connect: Too many open files): their states stay as they are; raise the limit "
            "(ulimit -n, LimitNOFILE=)"
        )


class TestModels:
    def test_not_known_at_first(self, make):
        configure = make().fleet.configure(STATE)
        assert configure.servers[0].models is None
        assert configure.models_json is None
        assert configure.model_slots == ()

    def test_listed(self, make, log):
        fleet = make(a(), b())
        fleet.server().models.models_listed(listing("m", "lora"))
        fleet.server("http://b").models.models_listed(listing("m"))
        configure = fleet.fleet.configure(STATE)
        assert [server.models for server in configure.servers] == [("m", "lora"), ("m",)]
        merged = msgspec.json.decode(configure.models_json)
        assert [model["id"] for model in merged["data"]] == ["m", "lora"]
        assert merged["data"][0]["max_model_len"] == 8192
        assert configure.model_slots == ("m", "lora")
        assert log()[0] == "server http://a has models: m, lora"
        assert fleet.fleet.health().servers["http://a"].models_last_updated == 1e9 + 1000

    def test_a_list_that_is_too_long_is_reported_once(self, make, log):
        fleet = make()
        for count in (MAX_MODELS + 7, MAX_MODELS + 8, 3, MAX_MODELS + 9):
            fleet.server().models.models_listed(parse_models(many_models(count)))
        warnings = [line for line in log() if "ignored" in line]
        assert warnings == [
            "server http://a lists too many models or too long names: "
            f"{count} are ignored; at most 10000 of 256 characters are used"
            for count in (7, 9)
        ]
        assert max(map(len, log())) < 400

    def test_of_two_hostile_servers_together_no_more_is_sent(self, make):
        fleet = make(a(), ServerConfig(url="http://b"), ServerConfig(url="http://c"))
        for url, prefix, count in (("a", "x", MAX_MODELS), ("b", "y", MAX_MODELS), ("c", "z", 2)):
            models = parse_models(model_list(f"{prefix}{n}" for n in range(count)))
            fleet.server(f"http://{url}").models.models_listed(models)
        first, second, third = (server.models for server in fleet.routed())
        assert third == ("z0", "z1")
        assert len({*first, *second, *third}) == MAX_MODELS

    def test_the_same_list_again_is_no_change(self, make):
        fleet = make()
        models = listing("m")
        fleet.server().models.models_listed(models)
        fleet.server().models.models_listed(models)
        assert (fleet.changes, fleet.checks) == (1, 2)

    def test_pinned(self, make):
        fleet = make(a(models=("m", "hidden")))
        fleet.server().models.models_listed(listing("m", "other"))
        configure = fleet.fleet.configure(STATE)
        assert configure.servers[0].models == ("m", "hidden")
        models = msgspec.json.decode(configure.models_json)["data"]
        assert models[0]["max_model_len"] == 8192
        assert (models[1]["id"], models[1]["object"]) == ("hidden", "model")

    def test_are_kept_while_the_server_is_down(self, make):
        fleet = make()
        fleet.server().models.models_listed(listing("m"))
        for _ in range(3):
            fleet.server().probed(REFUSED)
        fleet.server().models.listing_failed("refused")
        assert fleet.routed()[0].models == ("m",)

    def test_a_slot_is_for_ever(self, make):
        fleet = make()
        for names in (("m", "n"), ("o",), ("n", "m")):
            fleet.server().models.models_listed(listing(*names))
            slots = fleet.fleet.configure(STATE).model_slots
        assert slots == ("m", "n", "o")

    def test_there_are_only_so_many_slots(self, make):
        fleet = make()
        fleet.server().models.models_listed(listing(*(f"lora-{n}" for n in range(100))))
        assert len(fleet.fleet.configure(STATE).model_slots) == MODEL_SLOTS - 1

    def test_that_they_are_not_known_is_said_once(self, make, log):
        server = make().server()
        server.models.listing_failed("/v1/models returned 404")
        server.models.listing_failed("/v1/models returned 404")
        assert log() == ["server http://a: its models are not known: /v1/models returned 404"]


def test_what_workers_are_told(make):
    fleet = make(policy="random")
    state = ConfigState(source="servers.toml", sha256="00")
    configure = fleet.fleet.configure(state)
    assert configure.config is fleet.fleet.config
    assert configure.config_state is state
