import pytest

from fastroute.rules.comparison import Comparison
from fastroute.rules.outlier import MOMENT, WINDOW
from fastroute.rules.server_state import ServerState

UP, TRIAL, EJECTED = ServerState.UP, ServerState.TRIAL, ServerState.EJECTED
NOW = 100.0


class Fleet:
    """A comparison of servers a, b, c of one model, with the failures that a test notes."""

    def __init__(self, servers: str = "abc", model: str = "m") -> None:
        self.comparison: Comparison[str] = Comparison()
        self.models = {model: list(servers)}
        self.states = dict.fromkeys(servers, UP)
        self.delivering: set[str] = set()
        self.percent = 50.0

    def fail(self, server: str, moments: int, *, model: str = "m", unreachable: bool = True):
        for number in range(moments):
            self.comparison.add_failed(
                server, model, 1, NOW + number * MOMENT, unreachable=unreachable
            )
        return self

    def answer(self, server: str, count: int, model: str = "m"):
        self.comparison.add_answered(server, model, count, NOW)
        return self

    def outliers(self, now: float = NOW + 10) -> list[str]:
        return [ejection.server for ejection in self.ejections(now)]

    def ejections(self, now: float = NOW + 10):
        return self.comparison.outliers(
            now,
            self.models,
            self.states.__getitem__,
            self.delivering,
            threshold=5,
            max_percent=self.percent,
        )


def test_one_that_fails_what_the_others_answer():
    fleet = Fleet().fail("a", 6).answer("b", 20).answer("c", 20)
    (ejection,) = fleet.ejections()
    assert ejection.server == "a"
    assert ejection.reason == ("6 of 6 requests for m failed, of the other servers' 0 of 40")


def test_a_reason_names_no_model_where_none_is_known():
    fleet = Fleet(model="").fail("a", 6, model="").answer("b", 20, "")
    (ejection,) = fleet.ejections()
    assert ejection.reason == "6 of 6 requests failed, of the other servers' 0 of 20"


def test_a_reason_names_no_peers_where_none_has_requests():
    (ejection,) = Fleet().fail("a", 6).ejections()
    assert ejection.reason == "6 of 6 requests for m failed"


@pytest.mark.parametrize(
    ("moments", "expected"),
    [pytest.param(4, [], id="too-few"), pytest.param(5, ["a"], id="enough")],
)
def test_the_threshold_is_of_moments(moments, expected):
    assert Fleet().fail("a", moments).answer("b", 50).outliers() == expected


def test_alone_only_the_transport_counts():
    assert Fleet().fail("a", 6).outliers() == ["a"]
    assert Fleet().fail("a", 6, unreachable=False).outliers() == []


def test_what_fails_everywhere_ejects_nobody():
    assert Fleet().fail("a", 20).fail("b", 20).fail("c", 20).outliers() == []


def test_one_that_delivers_stays():
    fleet = Fleet().fail("a", 20).answer("b", 50)
    fleet.delivering = {"a"}
    assert fleet.outliers() == []


def test_the_worst_goes_first_and_the_bound_holds():
    fleet = Fleet("abcd").fail("a", 20).answer("a", 4).fail("b", 20).answer("c", 200)
    fleet.percent = 25.0
    assert fleet.outliers() == ["b"]
    fleet.percent = 50.0
    assert fleet.outliers() == ["b", "a"]


def test_never_the_last_usable_one():
    fleet = Fleet("ab").fail("a", 20)
    fleet.states["b"] = ServerState.DOWN
    fleet.percent = 100.0
    assert fleet.outliers() == []


def test_one_that_was_ejected_for_a_model_counts_for_its_others():
    fleet = Fleet("ab").fail("a", 20).answer("b", 50)
    fleet.models["n"] = ["a", "b"]
    fleet.fail("b", 20, model="n").answer("a", 50, "n")
    assert len(fleet.outliers()) == 1


@pytest.mark.parametrize(
    ("state", "expected"),
    [(UP, []), (TRIAL, ["a"]), (EJECTED, []), (ServerState.DOWN, []), (ServerState.DRAINING, [])],
    ids=lambda value: value.name if isinstance(value, ServerState) else None,
)
def test_on_trial_one_moment_is_enough(state, expected):
    fleet = Fleet().fail("a", 1, unreachable=False).answer("b", 50)
    fleet.states["a"] = state
    assert fleet.outliers() == expected


def test_of_another_model_or_a_server_without_it_nothing_follows():
    assert Fleet().fail("a", 20, model="other").outliers() == []
    fleet = Fleet("abc").fail("c", 20).answer("a", 50)
    fleet.models = {"m": ["a", "b"]}
    assert fleet.outliers() == []


def test_only_failures_are_watched_and_only_for_the_window():
    comparison: Comparison[str] = Comparison()
    assert comparison.watched() == set()
    comparison.add_failed("a", "m", 1, NOW, unreachable=True)
    comparison.add_answered("b", "m", 3, NOW)
    assert comparison.watched() == {"m"}
    assert comparison.sample("b", "m", NOW).answered == 3
    later = NOW + WINDOW + 2 * MOMENT
    assert comparison.outliers(later, {}, lambda _: UP, (), threshold=5, max_percent=50) == []
    assert comparison.watched() == set()


def test_forgotten_windows():
    fleet = Fleet().fail("a", 20).answer("b", 50)
    fleet.comparison.forget("a")
    assert fleet.comparison.sample("a", "m", NOW + 5).failed == 0
    assert fleet.comparison.sample("b", "m", NOW + 5).answered == 50
    assert fleet.outliers() == []


def test_watching_costs_the_same_for_any_number_of_models():
    """Each tick asked for each of a hostile server's 10,000 models, and each time looked at all."""
    comparison = Comparison()
    for number in range(10_000):
        comparison.add_failed("a", f"m{number}", 1, 0.0, unreachable=False)
    assert len(comparison.watched()) == 10_000
    comparison.forget("a")
    assert comparison.watched() == set()
