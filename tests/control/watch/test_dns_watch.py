import asyncio
import logging

import pytest

from fastroute.config import Config, ServerConfig
from fastroute.control.watch.dns_watch import NameWatch, NameWatches
from fastroute.net.resolver import Unresolved
from fastroute.rules.discovery import UNKNOWN
from tests.support.names import Names
from tests.support.standins import until

A = ServerConfig(url="http+dns://a:8000")
B = ServerConfig(url="http+dns://b:8000")


@pytest.fixture(name="names")
def names_fixture():
    return Names()


@pytest.fixture(name="log")
def log_fixture(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.message for record in caplog.records if record.name == "supervisor"]


class Watched:
    """A name that is followed, and how often its look-ups were told of."""

    def __init__(self, names: Names, *, patience: float = 5.0, **settings) -> None:
        self.told = 0
        config = Config(servers=(A,), **{"dns_interval": 0.1, **settings})
        self.watch = NameWatch(A, config, names.resolve, self._tell, patience)

    def _tell(self) -> None:
        self.told += 1

    async def look_ups(self, count: int = 1) -> None:
        """Wait for so many more."""
        wanted = self.told + count
        await until(lambda: self.told >= wanted)


@pytest.fixture(name="follow")
async def follow_fixture(names):
    made = []

    def follow(**settings) -> Watched:
        made.append(Watched(names, **settings))
        return made[-1]

    yield follow
    for each in made:
        each.watch.stop()


class TestNameWatch:
    async def test_looks_up_at_once_and_again(self, names, follow):
        names.answers["a"] = ("10.0.0.2", "10.0.0.1")
        watched = follow()
        assert watched.watch.known is UNKNOWN
        await watched.look_ups()
        assert watched.watch.known.addresses == ("10.0.0.1", "10.0.0.2")
        names.answers["a"] = ("10.0.0.3",)
        await watched.look_ups(2)
        assert watched.watch.known.addresses == ("10.0.0.3",)

    async def test_what_goes_wrong_is_said_once(self, names, follow, log):
        names.answers["a"] = Unresolved("Temporary failure")
        watched = follow()
        await watched.look_ups(3)
        names.answers["a"] = ("10.0.0.1",)
        await watched.look_ups(3)
        assert log() == [
            "http+dns://a:8000: it cannot be resolved: Temporary failure",
            "http+dns://a:8000: it can be resolved now",
        ]

    async def test_addresses_are_kept_for_as_long_as_is_set(self, names, follow):
        names.answers["a"] = ("10.0.0.1",)
        watched = follow(dns_hold=60)
        await watched.look_ups()
        names.answers["a"] = ()
        await watched.look_ups(3)
        assert watched.watch.known.addresses == ("10.0.0.1",)
        watched.watch.update(A, Config(servers=(A,), dns_interval=0.1, dns_hold=0.2))
        await until(lambda: watched.watch.known.addresses == ())

    async def test_one_that_hangs_is_waited_for_and_not_asked_twice(self, names, follow, log):
        names.answers["a"] = ("10.0.0.1",)
        watched = follow(patience=0.05)
        await watched.look_ups()
        names.hang()
        await until(lambda: watched.watch.known.problem)
        assert watched.watch.known.addresses == ("10.0.0.1",)
        asked = names.asked["a"]
        names.answers["a"] = ("10.0.0.2",)
        names.go_on()
        await until(lambda: watched.watch.known.addresses == ("10.0.0.2",))
        assert names.asked["a"] == asked
        reason = "no response within 0.05 s; the last one is kept"
        assert log() == [
            f"http+dns://a:8000: it cannot be resolved: {reason}",
            "http+dns://a:8000: it can be resolved now",
        ]

    async def test_a_shorter_interval_counts_at_once(self, names, follow):
        watched = follow(dns_interval=3600)
        await watched.look_ups()
        watched.watch.update(A, Config(servers=(A,), dns_interval=0.1))
        await watched.look_ups(2)

    async def test_a_stopped_one_asks_no_more(self, names, follow):
        watched = follow()
        await watched.look_ups()
        watched.watch.stop()
        await until(watched.watch._task.cancelled)


class TestNameWatches:
    async def test_follow_what_the_configuration_says(self, names):
        names.answers |= {"a": ("10.0.0.1",), "b": ("10.0.0.2",)}
        told = asyncio.Event()
        watches = NameWatches(names.resolve, told.set)
        assert watches.known(A.address) is UNKNOWN
        watches.follow(Config(servers=(A, ServerConfig(url="http://c")), dns_interval=3600))
        await until(lambda: watches.known(A.address).tried)
        assert watches.known(A.address).addresses == ("10.0.0.1",)
        watches.follow(Config(servers=(B, A), dns_interval=3600))
        await until(lambda: watches.known(B.address).tried)
        assert names.asked == {"a": 1, "b": 1}, "one that stays is not begun anew"
        watches.follow(Config(servers=(B,), dns_interval=3600))
        assert watches.known(A.address) is UNKNOWN
        watches.stop()
        assert watches.known(B.address) is UNKNOWN
