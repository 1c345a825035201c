import pytest

from fastroute.rules.evidence import COMPARED, Event
from fastroute.rules.fleet_health import FleetHealth
from fastroute.rules.health_record import CONCERNED, Limits
from fastroute.rules.outlier import MOMENT
from fastroute.rules.server_state import ServerState, is_panic
from tests.support.settings import settings_of

UP, DOWN, TRIAL = ServerState.UP, ServerState.DOWN, ServerState.TRIAL
EJECTED, DRAINING = ServerState.EJECTED, ServerState.DRAINING
LIMITS = settings_of(
    Limits, failure_threshold=5, health_check_interval=10.0, auto_recovery_threshold=60.0
)


class Fleet:
    """Servers of one model, in virtual time."""

    def __init__(self, servers: str, limits: Limits = LIMITS) -> None:
        self.health: FleetHealth[str] = FleetHealth(limits)
        self.changes: list[tuple[str, ServerState, ServerState]] = []
        self.health.changed = lambda server, change: self.changes.append(
            (server, change.before, change.after)
        )
        self.servers = {server: self.health.add(server) for server in servers}
        self.health.models = {"m": list(servers)}
        self.now = 1000.0

    def state(self, server: str) -> ServerState:
        return self.health.state_of(server)

    def pass_time(self, seconds: float, delivering: str = "") -> None:
        self.now += seconds
        self.health.tick(self.now, set(delivering))

    def observe(self, server: str, event: Event, times: int = 1) -> None:
        for _ in range(times):
            self.health.observe(server, event, self.now)

    def fail(self, server: str, times: int = 1, event: Event = Event.REQUEST_FAILED) -> None:
        """Have requests fail, each at a moment of its own."""
        for _ in range(times):
            self.health.request_failed(server, "m", event, self.now)
            self.pass_time(MOMENT)

    def eject(self, server: str, others: str) -> None:
        self.fail(server)
        for other in others:
            self.health.requests_answered(other, "m", 50, self.now)
        self.fail(server, 5)
        assert self.state(server) is EJECTED


def test_ejected_and_back():
    fleet = Fleet("ab")
    fleet.eject("a", "b")
    fleet.pass_time(10)
    assert fleet.state("a") is TRIAL
    fleet.observe("a", Event.REQUEST_OK)
    fleet.fail("a", 4)
    assert fleet.state("a") is UP, "the failures of before are forgotten"
    assert fleet.changes == [("a", UP, EJECTED), ("a", EJECTED, TRIAL), ("a", TRIAL, UP)]


def test_good_requests_count_only_after_a_failure():
    fleet = Fleet("ab")
    assert fleet.health.watched() == set()
    fleet.fail("a")
    assert fleet.health.watched() == {"m"}


@pytest.mark.parametrize("event", COMPARED, ids=lambda event: event.name)
def test_one_client_whose_requests_nobody_can_answer(event):
    """Seen: all three servers DOWN in 65 of 69 looks."""
    fleet = Fleet("abc")
    for _ in range(50):
        for server in "abc":
            fleet.fail(server, 1, event)
    assert fleet.changes == []


def test_failed_health_checks_can_mark_all_down():
    fleet = Fleet("ab")
    for server in "ab":
        fleet.observe(server, Event.PROBE_FAILED, 3)
    assert fleet.state("a") is fleet.state("b") is DOWN
    assert not is_panic([fleet.state("a"), fleet.state("b")])


@pytest.mark.parametrize(
    ("servers", "percent", "ejected"),
    [("a", 100, ""), ("ab", 50, "a"), ("ab", 100, "a"), ("abcd", 50, "ab"), ("abcd", 0, "")],
)
def test_shutdowns_that_requests_show_are_bounded(servers, percent, ejected):
    limits = settings_of(Limits, max_ejection_percent=float(percent))
    fleet = Fleet(servers, limits)
    for server in servers:
        fleet.observe(server, Event.SHUTTING_DOWN)
    assert [server for server in servers if fleet.state(server) is EJECTED] == list(ejected)


def test_a_server_of_two_models_is_the_last_one_of_neither():
    fleet = Fleet("abc")
    fleet.health.models = {"m": ["a", "b", "c"], "lora": ["a"]}
    fleet.observe("a", Event.SHUTTING_DOWN)
    assert fleet.state("a") is UP
    fleet.health.models = {"m": ["a", "b", "c"], "lora": ["a", "b"]}
    fleet.observe("a", Event.SHUTTING_DOWN)
    assert fleet.state("a") is EJECTED


def test_on_trial_a_failure_ejects_again_at_once():
    fleet = Fleet("ab")
    fleet.eject("a", "b")
    fleet.pass_time(10)
    fleet.fail("a")
    assert fleet.state("a") is EJECTED


def test_the_last_usable_one_stays_on_trial():
    fleet = Fleet("ab")
    fleet.eject("a", "b")
    fleet.pass_time(10)
    fleet.observe("b", Event.PROBE_FAILED, 3)
    fleet.fail("a", 20)
    assert fleet.state("a") is TRIAL


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param((EJECTED, UP), False, id="another-is-up"),
        pytest.param((EJECTED, TRIAL), True, id="another-is-on-trial"),
        pytest.param((EJECTED, DOWN), True, id="another-is-down"),
        pytest.param((EJECTED, DRAINING), True, id="another-is-drained"),
        pytest.param((DOWN, DOWN), False, id="none-to-ask"),
    ],
)
def test_panic(states, expected):
    events = {
        EJECTED: [Event.STALLED],
        DOWN: [Event.PROBE_FAILED] * 3,
        DRAINING: [Event.DRAIN],
        TRIAL: [Event.ASLEEP, Event.AWAKE],
        UP: [],
    }
    fleet = Fleet("ab")
    for server, state in zip("ab", states, strict=True):
        for event in events[state]:
            fleet.observe(server, event)
        assert fleet.state(server) is state
    assert is_panic([fleet.state(server) for server in "ab"]) is expected


CHANGED = {
    "failure_threshold": 7,
    "max_ejection_percent": 20.0,
    "auto_recovery_threshold": 7.0,
    "stall_timeout": 7.0,
    "enable_active_health_check": False,
    "health_check_consecutive_failures": 7,
    "health_check_window_size": 7,
    "health_check_min_success_rate": 0.25,
    "health_check_max_response_time": 7.0,
    "health_check_interval": 7.0,
}


@pytest.mark.parametrize("setting", CHANGED)
@pytest.mark.parametrize("event", [Event.SHUTTING_DOWN, Event.STALLED], ids=lambda each: each.name)
def test_a_changed_setting_that_concerns_the_cause_has_it_tried_again(event, setting):
    fleet = Fleet("ab")
    fleet.observe("a", event)
    assert fleet.state("a") is EJECTED
    cause = fleet.servers["a"].record.cause
    limits = settings_of(
        Limits,
        **{"failure_threshold": 5, "health_check_interval": 10.0, "auto_recovery_threshold": 60.0}
        | {setting: CHANGED[setting]},
    )
    fleet.health.reconfigure(limits, fleet.now)
    assert fleet.state("a") is (TRIAL if setting in CONCERNED[cause] else EJECTED)
    assert fleet.state("b") is UP


def test_the_same_settings_again_change_nothing():
    fleet = Fleet("ab")
    fleet.observe("a", Event.STALLED)
    fleet.health.reconfigure(LIMITS, fleet.now)
    assert fleet.state("a") is EJECTED


def test_every_setting_concerns_a_cause_or_only_the_pace():
    concerned = {name for names in CONCERNED.values() for name in names}
    assert set(Limits.__struct_fields__) - concerned == {"health_check_interval"}
    assert set(CHANGED) == set(Limits.__struct_fields__)


def test_removed():
    fleet = Fleet("ab")
    fleet.fail("a", 3)
    fleet.health.remove("a")
    fleet.health.models = {"m": ["b"]}
    fleet.pass_time(10)
    fleet.health.add("a")
    assert fleet.state("a") is UP
