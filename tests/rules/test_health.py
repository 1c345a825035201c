"""What takes a server out of service and what brings it back, as a table of states and events."""

import pytest

from fastroute.rules.evidence import Cause, Event
from fastroute.rules.health import TRANSITIONS, WAYS_BACK, Change, ServerHealth
from fastroute.rules.health_record import Facts, Limits
from fastroute.rules.server_state import ServerState
from tests.support.settings import settings_of

UP, DOWN, DRAINING = ServerState.UP, ServerState.DOWN, ServerState.DRAINING
TRIAL, COOLING = ServerState.TRIAL, ServerState.COOLING
EJECTED, ASLEEP = ServerState.EJECTED, ServerState.ASLEEP
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


PASSIVE = settings_of(Limits, enable_active_health_check=False, health_check_interval=1.0)
SHORT_WAIT = settings_of(Limits, auto_recovery_threshold=0.5)
TRIED_AGAIN = {Event.UNDRAIN: TRIAL, Event.RECONFIGURED: TRIAL}
"""What an operator does makes of every ejected server."""


def reconfigured(health: ServerHealth, limits: Limits) -> ServerHealth:
    health.record.limits = limits
    return health


# How each state is reached: as seldom as it changes, and on the brink of each change.
HISTORIES = {
    "up": (UP, lambda: at_start()),
    "up-two-probes-failed": (UP, lambda: at_start(FAILED, SLOW)),
    "cooling": (COOLING, lambda: at_start(Event.BUSY, retry_after=9.0)),
    "cooling-is-over": (COOLING, lambda: at_start(Event.BUSY)),
    "cooling-two-probes-failed": (COOLING, lambda: at_start(Event.BUSY, FAILED, FAILED)),
    "down": (DOWN, lambda: at_start(FAILED, FAILED, FAILED)),
    "down-and-no-checks-any-more": (
        DOWN,
        lambda: reconfigured(at_start(FAILED, FAILED, FAILED, limits=SHORT_WAIT), PASSIVE),
    ),
    "ejected": (EJECTED, lambda: at_start(Event.OUTLIER)),
    "ejected-two-probes-failed": (EJECTED, lambda: at_start(Event.OUTLIER, FAILED, FAILED)),
    "ejected-backoff-is-over": (EJECTED, lambda: at_start(Event.OUTLIER, limits=SHORT_WAIT)),
    "ejected-shutting-down": (EJECTED, lambda: at_start(Event.SHUTTING_DOWN)),
    "ejected-stalled": (EJECTED, lambda: at_start(Event.STALLED)),
    "asleep": (ASLEEP, lambda: at_start(Event.ASLEEP)),
    "asleep-two-probes-failed": (ASLEEP, lambda: at_start(Event.ASLEEP, FAILED, FAILED)),
    "trial": (TRIAL, lambda: at_start(FAILED, FAILED, FAILED, OK)),
    "trial-after-sleep": (TRIAL, lambda: at_start(Event.ASLEEP, Event.AWAKE)),
    "trial-after-stall": (TRIAL, lambda: at_start(Event.STALLED, Event.MOVING)),
    "trial-after-ejection": (TRIAL, lambda: at_start(Event.OUTLIER, Event.DRAIN, Event.UNDRAIN)),
    "trial-without-a-request": (
        TRIAL,
        lambda: at_start(Event.OUTLIER, Event.DRAIN, Event.UNDRAIN, limits=SHORT_WAIT),
    ),
}

OVERLOADED = {
    Event.ASLEEP: ASLEEP,
    Event.OUTLIER: EJECTED, Event.SHUTTING_DOWN: EJECTED, Event.STALLED: EJECTED,
}  # fmt: skip
COOLS = {**OVERLOADED, Event.RECONFIGURED: UP}
IN_SERVICE = {**OVERLOADED, Event.BUSY: COOLING, Event.KEY_REFUSED: COOLING}
ON_TRIAL = {
    **IN_SERVICE,
    Event.REQUEST_OK: UP, FAILED: DOWN, SLOW: DOWN,
    Event.REQUEST_FAILED: EJECTED,
}  # fmt: skip

# What the next event, a second later, makes of it. What is not named changes nothing.
NEXT = {
    "up": IN_SERVICE,
    "up-two-probes-failed": {FAILED: DOWN, SLOW: DOWN, **IN_SERVICE},
    "cooling": COOLS,
    "cooling-is-over": {**COOLS, Event.TIME: UP},
    "cooling-two-probes-failed": {**COOLS, FAILED: DOWN, SLOW: DOWN, Event.TIME: UP},
    "down": {OK: TRIAL, Event.ASLEEP: ASLEEP},
    "down-and-no-checks-any-more": {
        OK: TRIAL, Event.ASLEEP: ASLEEP, Event.TIME: TRIAL,
        Event.UNDRAIN: TRIAL, Event.RECONFIGURED: TRIAL,
    },
    "ejected": {Event.ASLEEP: ASLEEP, **TRIED_AGAIN},
    "ejected-two-probes-failed": {FAILED: DOWN, Event.ASLEEP: ASLEEP, **TRIED_AGAIN},
    "ejected-backoff-is-over": {Event.TIME: TRIAL, Event.ASLEEP: ASLEEP, **TRIED_AGAIN},
    "ejected-shutting-down": {Event.ASLEEP: ASLEEP, **TRIED_AGAIN},
    "ejected-stalled": {Event.MOVING: TRIAL, Event.ASLEEP: ASLEEP, **TRIED_AGAIN},
    "asleep": {Event.AWAKE: TRIAL, Event.REPORTS_LOST: TRIAL, Event.UNDRAIN: TRIAL},
    # Its metrics show that its process lives: else the two would take turns.
    "asleep-two-probes-failed": {
        Event.AWAKE: TRIAL, Event.REPORTS_LOST: TRIAL, Event.UNDRAIN: TRIAL,
    },
    "trial": {OK: UP, **ON_TRIAL},
    "trial-after-sleep": {OK: UP, **ON_TRIAL},
    # Their checks succeeded all the while: they prove nothing.
    "trial-after-stall": ON_TRIAL,
    "trial-after-ejection": ON_TRIAL,
    "trial-without-a-request": {**ON_TRIAL, Event.TIME: UP},
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


def test_every_state_but_up_has_a_way_back_in_words():
    documented = [row.state for row in WAYS_BACK]
    assert len(set(documented)) == len(documented)
    assert set(ServerState) - set(documented) == {UP, ServerState.FREE}


@pytest.mark.parametrize("history", [name for name in HISTORIES if Event.UNDRAIN not in NEXT[name]])
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
    for _ in range(3):
        assert health.observe(FAILED, LATER) is None
    assert not health.is_healthy
    assert health.observe(Event.UNDRAIN, LATER) == Change(DRAINING, DOWN, Event.UNDRAIN.value)
    assert health.reason == "3 health checks in a row failed"


@pytest.mark.parametrize("history", [name for name in HISTORIES if Event.UNDRAIN in NEXT[name]])
def test_drained_and_back_is_tried_again(history):
    """Seen: neither drain on and off nor anything else cleared a stall whose gauges stay."""
    health = HISTORIES[history][1]()
    assert health.observe(Event.DRAIN, LATER).after is DRAINING
    assert health.observe(Event.UNDRAIN, LATER).after is TRIAL


@pytest.mark.parametrize(
    ("history", "healthy"),
    [
        pytest.param("up", True, id="up"),
        pytest.param("cooling", True, id="full-is-not-ill"),
        pytest.param("down", False, id="down"),
        pytest.param("ejected", False, id="ejected"),
        pytest.param("asleep", False, id="asleep"),
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
        pytest.param("down", 10.0, 2.0, id="down"),
        pytest.param("ejected", 10.0, 2.0, id="ejected"),
        pytest.param("down", 0.5, 0.5, id="down-never-slower"),
        pytest.param("trial", 10.0, 1.0, id="trial"),
    ],
)
def test_probe_interval(history, interval, expected):
    health = HISTORIES[history][1]()
    health.record.limits = settings_of(Limits, health_check_interval=interval)
    assert health.probe_interval == expected


# Ejection and backoff.


def test_the_backoff_doubles_while_trials_fail():
    """A server whose GPU is broken answers /health 200 for ever (vLLM issue 36960)."""
    health = at_start()
    now, waits = START, []
    assert health.observe(Event.OUTLIER, now).after is EJECTED
    for _ in range(6):
        waits.append(health.due - now)
        now = health.due
        assert health.observe(Event.TIME, now).after is TRIAL
        assert health.observe(OK, now) is None, "a successful health check is no proof"
        assert health.observe(Event.REQUEST_FAILED, now).after is EJECTED
    assert waits == [10, 20, 40, 60, 60, 60]


def test_one_answer_does_not_end_the_doubling_but_a_long_good_time_does():
    health = at_start()
    assert health.observe(Event.OUTLIER, START).after is EJECTED
    assert health.observe(Event.TIME, START + 10).after is TRIAL
    assert health.observe(Event.REQUEST_OK, START + 10).after is UP
    assert health.observe(Event.OUTLIER, START + 11).after is EJECTED
    assert health.due == START + 11 + 20
    assert health.observe(Event.TIME, START + 31).after is TRIAL
    assert health.observe(Event.REQUEST_OK, START + 31).after is UP
    assert health.observe(Event.OUTLIER, START + 91).after is EJECTED
    assert health.due == START + 91 + 10


@pytest.mark.parametrize("event", [Event.REQUEST_FAILED, Event.REQUEST_ERROR, Event.REQUEST_SILENT])
def test_failed_requests_alone_change_nothing(event):
    """Only the comparison with the other servers ejects."""
    health = at_start(*[event] * 100)
    assert health.state is UP


def test_an_error_on_trial_changes_nothing_yet():
    """It may be the request's fault: the comparison decides."""
    health = HISTORIES["trial-after-ejection"][1]()
    assert health.observe(Event.REQUEST_ERROR, LATER) is None


@pytest.mark.parametrize("event", [Event.REQUEST_OK, Event.REQUEST_FAILED, Event.BUSY])
def test_what_was_in_flight_when_it_was_ejected_changes_nothing(event):
    health = at_start(Event.OUTLIER)
    assert health.observe(event, LATER) is None
    assert health.due == START + 10


@pytest.mark.parametrize("history", ["ejected", "ejected-shutting-down", "ejected-stalled"])
def test_a_restarted_server_does_not_wait(history):
    """Killed under load, its requests failed first; failed health checks say that it is new."""
    health = HISTORIES[history][1]()
    for _ in range(3):
        health.observe(FAILED, LATER, Facts(detail="connection refused"))
    assert health.state is DOWN
    assert health.record.cause is Cause.PROBES
    assert health.reason == "3 health checks in a row failed: connection refused"
    assert health.observe(OK, LATER).after is TRIAL


def test_a_reason_stands_while_the_cause_is_the_same():
    health = at_start(FAILED, FAILED)
    health.observe(FAILED, START, Facts(detail="no response within 10 s"))
    health.observe(FAILED, LATER, Facts(detail="connection refused"))
    assert health.reason == "3 health checks in a row failed: no response within 10 s"


@pytest.mark.parametrize("history", HISTORIES)
def test_every_state_has_a_way_back_in_bounded_time(history):
    """Whatever took it out: with good health checks and good metrics it is back in 60 s."""
    health = HISTORIES[history][1]()
    health.record.limits = LIMITS
    for second in range(61):
        now = START + second
        for event in (OK, Event.AWAKE, Event.TIME):
            health.observe(event, now, Facts(response_time=0.1))
        if health.state is TRIAL:
            health.observe(Event.REQUEST_OK, now)
    assert health.state is UP


def test_asleep_and_its_metrics_gone():
    """Seen: asleep for ever, as only metrics that nobody can read could have cleared it."""
    health = at_start(Event.ASLEEP)
    assert health.observe(Event.REPORTS_LOST, LATER).after is TRIAL


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


def test_without_health_checks_time_brings_it_on_trial():
    health = at_start(Event.OUTLIER, limits=PASSIVE)
    assert health.due == START + 1
    assert health.observe(Event.TIME, START + 0.9) is None
    assert health.observe(Event.TIME, START + 1).after is TRIAL
    assert health.observe(Event.TIME, START + 1.9) is None
    assert health.observe(Event.REQUEST_OK, START + 1.9).after is UP


def test_a_trial_that_nobody_asks_ends():
    """Its requests may be of a client that does not read, or say nothing about the engine."""
    health = HISTORIES["trial-after-ejection"][1]()
    assert health.due == START + 60
    assert health.observe(Event.TIME, START + 59.9) is None
    change = health.observe(Event.TIME, START + 60)
    assert change == Change(TRIAL, UP, "nothing failed while it was on trial")


@pytest.mark.parametrize("history", ["up", "down", "asleep"])
def test_time_alone_changes_nothing(history):
    health = HISTORIES[history][1]()
    assert health.due is None
    assert health.observe(Event.TIME, START + 1e6) is None
