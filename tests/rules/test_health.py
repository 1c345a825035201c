"""What takes a server down and what brings it back, as one table of all states and events."""

import itertools

import pytest

from fastroute.rules.health import TRANSITIONS, Change, ServerHealth
from fastroute.rules.health_event import Event, Facts
from fastroute.rules.health_record import Cause, Limits
from fastroute.rules.server_state import ServerState
from tests.support.settings import settings_of

UP, DOWN, DRAINING = ServerState.UP, ServerState.DOWN, ServerState.DRAINING
TRIAL, COOLING = ServerState.TRIAL, ServerState.COOLING
OK, FAILED, SLOW = Event.PROBE_OK, Event.PROBE_FAILED, Event.PROBE_SLOW

LIMITS = settings_of(
    Limits,
    health_check_interval=10.0,
    health_check_consecutive_failures=3,
    health_check_window_size=10,
    health_check_min_success_rate=0.5,
    health_check_max_response_time=1.0,
    failure_threshold=5,
    auto_recovery_threshold=60.0,
)
START = 1000.0
LATER = START + 1.0


def at_start(*events: Event, limits: Limits = LIMITS, retry_after: float = 0.0) -> ServerHealth:
    health = ServerHealth(limits)
    for event in events:
        health.observe(event, START, Facts(response_time=0.1, retry_after=retry_after))
    return health


PASSIVE = settings_of(Limits, enable_active_health_check=False, auto_recovery_threshold=1.0)
PASSIVE_AT_ONCE = settings_of(Limits, enable_active_health_check=False, auto_recovery_threshold=0.0)
SHORT_WAIT = settings_of(Limits, auto_recovery_threshold=0.5)

# How each state is reached: as seldom as it changes, and on the brink of each change.
HISTORIES = {
    "up": (UP, lambda: at_start()),
    "up-two-probes-failed": (UP, lambda: at_start(FAILED, SLOW)),
    "up-four-requests-failed": (UP, lambda: at_start(*[Event.REQUEST_FAILED] * 4)),
    "cooling": (COOLING, lambda: at_start(Event.BUSY, retry_after=9.0)),
    "cooling-is-over": (COOLING, lambda: at_start(Event.BUSY)),
    "cooling-two-probes-failed": (COOLING, lambda: at_start(Event.BUSY, FAILED, FAILED)),
    "cooling-four-requests-failed": (
        COOLING,
        lambda: at_start(Event.BUSY, *[Event.REQUEST_FAILED] * 4, retry_after=9.0),
    ),
    "down-by-probes": (DOWN, lambda: at_start(FAILED, FAILED, FAILED)),
    "down-by-requests": (DOWN, lambda: at_start(*[Event.REQUEST_FAILED] * 5)),
    "down-by-requests-wait-is-over": (
        DOWN,
        lambda: at_start(*[Event.REQUEST_FAILED] * 5, limits=SHORT_WAIT),
    ),
    "down-passive-long-enough": (
        DOWN,
        lambda: at_start(*[Event.REQUEST_FAILED] * 5, limits=PASSIVE),
    ),
    "down-shutting-down": (DOWN, lambda: at_start(Event.SHUTTING_DOWN)),
    "down-asleep": (DOWN, lambda: at_start(Event.ASLEEP)),
    "down-asleep-passive": (DOWN, lambda: at_start(Event.ASLEEP, limits=PASSIVE)),
    "down-stalled": (DOWN, lambda: at_start(Event.STALLED)),
    "trial": (TRIAL, lambda: at_start(Event.ASLEEP, Event.AWAKE)),
    "trial-after-stall": (TRIAL, lambda: at_start(Event.STALLED, Event.MOVING)),
    "trial-after-requests": (
        TRIAL,
        lambda: at_start(*[Event.REQUEST_FAILED] * 5, Event.TIME, limits=PASSIVE_AT_ONCE),
    ),
}

ON_TRIAL = {
    Event.REQUEST_OK: UP, Event.BUSY: COOLING,
    FAILED: DOWN, SLOW: DOWN, Event.REQUEST_FAILED: DOWN,
    Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
}  # fmt: skip

# What the next event, a second later, makes of it. What is not named changes nothing.
NEXT = {
    "up": {
        Event.BUSY: COOLING, Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "up-two-probes-failed": {
        FAILED: DOWN, SLOW: DOWN,
        Event.BUSY: COOLING, Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "up-four-requests-failed": {
        Event.REQUEST_FAILED: DOWN,
        Event.BUSY: COOLING, Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "cooling": {Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN},
    "cooling-is-over": {
        Event.TIME: UP, Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "cooling-two-probes-failed": {
        FAILED: DOWN, SLOW: DOWN, Event.TIME: UP,
        Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "cooling-four-requests-failed": {
        Event.REQUEST_FAILED: DOWN,
        Event.SHUTTING_DOWN: DOWN, Event.ASLEEP: DOWN, Event.STALLED: DOWN,
    },
    "down-by-probes": {OK: TRIAL},
    "down-by-requests": {},
    "down-by-requests-wait-is-over": {OK: TRIAL},
    "down-passive-long-enough": {OK: TRIAL, Event.TIME: TRIAL},
    "down-shutting-down": {},
    "down-asleep": {Event.AWAKE: TRIAL},
    "down-asleep-passive": {Event.AWAKE: TRIAL},
    "down-stalled": {Event.MOVING: TRIAL},
    "trial": {OK: UP, **ON_TRIAL},
    # Their checks were good all the while: they prove nothing.
    "trial-after-stall": ON_TRIAL,
    "trial-after-requests": ON_TRIAL,
}  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("event", [pytest.param(event, id=event.name) for event in Event])
def test_table(history, event):
    before, make = HISTORIES[history]
    health = make()
    assert health.state is before
    expected = NEXT[history].get(event, before)
    if event is Event.DRAIN:
        expected = DRAINING
    change = health.observe(event, LATER, Facts(response_time=0.1))
    assert health.state is expected
    if expected is before:
        assert change is None
    else:
        assert change == Change(before, expected, health.reason)
        assert change.reason
        assert health.since == LATER


def test_the_histories_meet_all_of_the_table():
    """Each transition that is written down happens in `test_table`, but for those to the same."""
    met = {
        (HISTORIES[history][0], event, after)
        for history, events in NEXT.items()
        for event, after in events.items()
    }
    listed = {
        (before, event, after)
        for before, events in TRANSITIONS.items()
        for event, (_, after) in events.items()
        if before is not after
    }
    # A good probe takes down by the average alone: see test_slow_on_average_is_down.
    assert listed - met == {(UP, OK, DOWN), (COOLING, OK, DOWN)}
    assert met <= listed


@pytest.mark.parametrize("history", HISTORIES)
def test_draining_hides_a_state_and_gives_it_back(history):
    before, make = HISTORIES[history]
    health = make()
    reason = health.reason
    assert health.observe(Event.DRAIN, LATER) == Change(before, DRAINING, Event.DRAIN.value)
    assert health.observe(Event.DRAIN, LATER) is None
    assert health.reason == Event.DRAIN.value
    assert health.observe(Event.UNDRAIN, LATER) == Change(DRAINING, before, Event.UNDRAIN.value)
    assert health.observe(Event.UNDRAIN, LATER) is None
    assert health.reason == reason


def test_health_goes_on_under_draining():
    health = at_start(Event.DRAIN)
    assert health.observe(Event.ASLEEP, LATER) is None
    assert not health.is_healthy
    assert health.observe(Event.UNDRAIN, LATER) == Change(DRAINING, DOWN, Event.UNDRAIN.value)
    assert health.reason == Event.ASLEEP.value


@pytest.mark.parametrize(
    ("history", "healthy"),
    [
        pytest.param("up", True, id="up"),
        pytest.param("cooling", True, id="full-is-not-ill"),
        pytest.param("down-asleep", False, id="down"),
        pytest.param("trial", False, id="trial"),
    ],
)
def test_is_healthy(history, healthy):
    assert HISTORIES[history][1]().is_healthy is healthy


# Probes.


def test_failures_must_be_in_a_row():
    health = at_start(FAILED, FAILED, OK, FAILED, FAILED)
    assert health.state is UP
    assert health.record.consecutive_failures == 2
    change = health.observe(FAILED, LATER, Facts(detail="connection refused"))
    assert change.reason == "3 health checks in a row failed: connection refused"


def test_a_success_rate_needs_a_full_window():
    health = at_start(FAILED, FAILED, OK, FAILED, FAILED, OK, FAILED, FAILED, OK)
    assert health.state is UP
    assert health.record.success_rate == pytest.approx(1 / 3)
    change = health.observe(FAILED, LATER)
    assert change == Change(UP, DOWN, "only 30% of the health checks succeeded")


def test_a_success_rate_at_the_limit_is_enough():
    health = at_start(*[FAILED, OK] * 20)
    assert health.state is UP
    assert health.record.success_rate == 0.5


def test_slow_on_average_is_down():
    health = at_start()
    slow = Facts(response_time=2.0)
    assert health.observe(OK, START, slow) is None  # One is no average.
    assert health.observe(OK, START, slow) is None
    assert health.record.average_response_time == 2.0
    change = health.observe(OK, START, slow)
    assert change == Change(UP, DOWN, "health checks take 2.0 s on average")


@pytest.mark.parametrize(
    "event", [pytest.param(OK, id="answered-late"), pytest.param(SLOW, id="timed-out")]
)
def test_busy_is_not_dead(event):
    """A saturated vLLM misses health checks at peak load; while it delivers it is alive."""
    health = at_start(OK)
    for _ in range(20):
        facts = Facts(response_time=10.0, delivering=True)
        assert health.observe(event, LATER, facts) is None
    record = health.record
    assert (record.total_checks, record.last_check, record.last_response_time) == (21, LATER, 10.0)
    assert (record.consecutive_failures, record.success_rate) == (0, 1.0)
    assert record.average_response_time == 0.1


def test_delivering_does_not_excuse_a_refusal():
    health = at_start()
    for _ in range(3):
        health.observe(FAILED, LATER, Facts(delivering=True))
    assert health.state is DOWN


def test_a_server_that_comes_back_must_answer_quickly():
    health = at_start(FAILED, FAILED, FAILED)
    assert health.observe(OK, LATER, Facts(response_time=2.0)) is None
    assert health.observe(OK, LATER).after is TRIAL
    assert health.observe(OK, LATER, Facts(response_time=2.0)).after is DOWN


def test_the_past_is_forgotten_when_it_is_back():
    health = at_start(*[FAILED] * 10, OK, OK)
    assert health.state is UP
    assert health.record.success_rate == 1.0
    assert health.record.average_response_time is None
    assert health.record.consecutive_failures == 0
    assert health.observe(FAILED, LATER) is None


def test_a_smaller_window_forgets_at_once():
    health = at_start(*[OK] * 8, FAILED)
    health.record.limits = settings_of(Limits, health_check_window_size=2)
    health.observe(OK, LATER)
    assert health.record.success_rate == 0.5


@pytest.mark.parametrize(
    ("history", "interval", "expected"),
    [
        pytest.param("up", 10.0, 10.0, id="up"),
        pytest.param("cooling", 10.0, 10.0, id="cooling"),
        pytest.param("down-by-probes", 10.0, 2.0, id="down"),
        pytest.param("down-by-probes", 0.5, 0.5, id="down-never-slower"),
        pytest.param("trial", 10.0, 1.0, id="trial"),
    ],
)
def test_probe_interval(history, interval, expected):
    health = HISTORIES[history][1]()
    health.record.limits = settings_of(Limits, health_check_interval=interval)
    assert health.probe_interval == expected


# The breaker.


def trip(health: ServerHealth, now: float) -> None:
    for _ in range(LIMITS.failure_threshold):
        health.observe(Event.REQUEST_FAILED, now)
    assert health.state is DOWN


def wait_of(health: ServerHealth, now: float) -> float:
    """How long good probes do not bring it back, tried each second."""
    for second in itertools.count():
        if health.observe(OK, now + second) is not None:
            assert health.state is TRIAL
            return second
    raise AssertionError


def test_the_wait_doubles_while_only_probes_succeed():
    """A server whose GPU is broken answers /health 200 for ever (vLLM issue 36960)."""
    health = at_start()
    now = START
    waits = []
    trip(health, now)
    for _ in range(6):
        waits.append(wait_of(health, now))
        now += waits[-1] + 1
        assert health.observe(OK, now) is None, "a good check is no proof"
        assert health.observe(Event.REQUEST_FAILED, now).after is DOWN
    assert waits == [10, 20, 40, 60, 60, 60]


def test_failing_on_trial_counts_as_a_trip():
    health = at_start()
    trip(health, START)
    assert wait_of(health, START) == 10
    assert health.observe(Event.REQUEST_FAILED, START + 10).after is DOWN
    assert wait_of(health, START + 10) == 20


def test_an_answered_request_ends_the_doubling():
    health = at_start()
    trip(health, START)
    wait_of(health, START)
    assert health.observe(Event.REQUEST_OK, START + 10).after is UP
    trip(health, START + 11)
    assert wait_of(health, START + 11) == 10


def test_a_long_good_time_ends_the_doubling():
    health = at_start()
    trip(health, START)
    wait_of(health, START)
    assert health.observe(Event.BUSY, START + 11).after is COOLING
    assert health.observe(Event.TIME, START + 12).after is UP
    trip(health, START + 72)
    assert wait_of(health, START + 72) == 10


def test_answers_between_failures_keep_it_up():
    health = at_start(*[*[Event.REQUEST_FAILED] * 4, Event.REQUEST_OK] * 5)
    assert health.state is UP


def test_probes_do_not_excuse_requests():
    health = at_start(*[Event.REQUEST_FAILED, OK] * 5)
    assert health.state is DOWN
    assert health.reason == "5 requests in a row failed"


def test_what_was_under_way_when_it_went_down_changes_nothing():
    health = at_start(*[Event.REQUEST_FAILED] * 5)
    for event in (Event.REQUEST_FAILED, Event.REQUEST_OK, Event.BUSY, Event.SHUTTING_DOWN):
        assert health.observe(event, LATER) is None
    assert health.record.request_failures == 5
    assert wait_of(health, START) == 10


@pytest.mark.parametrize(
    "history",
    [
        pytest.param("down-by-requests", id="requests"),
        pytest.param("down-shutting-down", id="shutting-down"),
        pytest.param("down-asleep", id="asleep"),
        pytest.param("down-stalled", id="stalled"),
    ],
)
def test_a_restarted_server_does_not_wait(history):
    """Killed under load, its requests failed first; a probe that failed too tells it is new."""
    health = HISTORIES[history][1]()
    assert health.observe(SLOW, LATER) is None
    assert health.observe(OK, LATER) is None
    assert health.observe(FAILED, LATER, Facts(detail="connection refused")) is None
    assert health.record.cause is Cause.PROBES
    assert health.reason == "a health check failed: connection refused"
    assert health.observe(OK, LATER).after is TRIAL


def test_a_reason_stands_while_the_cause_is_the_same():
    health = at_start(FAILED, FAILED)
    health.observe(FAILED, START, Facts(detail="no response within 10 s"))
    health.observe(FAILED, LATER, Facts(detail="connection refused"))
    assert health.reason == "3 health checks in a row failed: no response within 10 s"


def test_down_by_probes_then_found_asleep_waits_for_its_metrics():
    health = at_start(FAILED, FAILED, FAILED)
    assert health.observe(Event.ASLEEP, LATER) is None
    assert health.observe(OK, LATER) is None
    assert health.observe(Event.STALLED, LATER) is None
    assert health.observe(Event.MOVING, LATER) is None
    assert health.observe(Event.AWAKE, LATER).after is TRIAL


# Cooling and time.


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        pytest.param(0.0, 1.0, id="none-given"),
        pytest.param(-5.0, 1.0, id="nonsense"),
        pytest.param(7.0, 7.0, id="given"),
        pytest.param(3600.0, 30.0, id="too-long"),
    ],
)
def test_cool_down(retry_after, wait):
    health = at_start(Event.BUSY, retry_after=retry_after)
    assert health.due == START + wait
    assert health.observe(Event.TIME, START + wait - 0.01) is None
    assert health.observe(Event.TIME, START + wait).after is UP
    assert health.due is None


def test_a_later_refusal_lengthens_and_never_shortens():
    health = at_start(Event.BUSY, retry_after=9.0)
    assert health.observe(Event.BUSY, LATER) is None
    assert health.due == START + 9
    health.observe(Event.BUSY, START + 8.5)
    assert health.due == START + 9.5


def test_without_probes_time_brings_it_on_trial():
    limits = settings_of(Limits, enable_active_health_check=False, auto_recovery_threshold=60.0)
    health = at_start(*[Event.REQUEST_FAILED] * 5, limits=limits)
    assert health.due == START + 60
    assert health.observe(Event.TIME, START + 59.9) is None
    assert health.observe(Event.TIME, START + 60).after is TRIAL
    assert health.observe(Event.TIME, START + 999) is None
    assert health.observe(Event.REQUEST_OK, START + 999).after is UP


@pytest.mark.parametrize(
    "history",
    [
        pytest.param("up", id="up"),
        pytest.param("down-by-requests", id="probed"),
        pytest.param("down-asleep-passive", id="asleep"),
        pytest.param("trial", id="trial"),
    ],
)
def test_time_alone_changes_nothing(history):
    health = HISTORIES[history][1]()
    assert health.due is None
    assert health.observe(Event.TIME, START + 1e6) is None
