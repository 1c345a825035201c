import asyncio
import threading

import pytest

from fastroute.control.resolver import Resolver, Unresolved, addresses_of
from tests.support.standins import until


class Gate:
    """Stands in for the system's look-up: blocks its thread until it is opened.

    Attributes:
        asked: How often it was asked.
        outcome: What it answers.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.outcome: object = ("10.0.0.1",)
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def look_up(self, name: str) -> tuple[str, ...]:
        self.asked += 1
        self._opened.wait(20)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open()


class TestSystem:
    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
    def test_finds_what_the_hosts_file_says(self, name):
        assert "127.0.0.1" in addresses_of(name)

    def test_each_address_once(self):
        found = addresses_of("localhost")
        assert len(set(found)) == len(found)

    def test_what_no_resolver_would_take(self):
        with pytest.raises(Unresolved):
            addresses_of("a" * 64)


class TestResolver:
    async def test_asks_the_system(self):
        assert "127.0.0.1" in await Resolver().resolve("localhost")

    async def test_one_look_up_at_a_time_for_each_name(self, gate):
        made = Resolver(gate.look_up)
        asking = [asyncio.create_task(made.resolve("a")) for _ in range(3)]
        await until(lambda: gate.asked == 1)
        gate.open()
        assert await asyncio.gather(*asking) == [("10.0.0.1",)] * 3
        assert gate.asked == 1
        await made.resolve("a")
        assert gate.asked == 2

    async def test_names_do_not_wait_for_each_other(self, gate):
        made = Resolver(gate.look_up)
        # More than any pool of threads has.
        asking = [asyncio.create_task(made.resolve(f"a{n}")) for n in range(50)]
        await until(lambda: gate.asked == 50)
        gate.open()
        await asyncio.gather(*asking)

    async def test_who_gave_up_gets_the_answer_by_asking_again(self, gate):
        made = Resolver(gate.look_up)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await made.resolve("a")
        again = asyncio.create_task(made.resolve("a"))
        await asyncio.sleep(0)
        gate.open()
        assert await again == ("10.0.0.1",)
        assert gate.asked == 1

    async def test_no_answer(self, gate):
        gate.outcome = Unresolved("why")
        gate.open()
        made = Resolver(gate.look_up)
        for _ in range(2):
            with pytest.raises(Unresolved, match=r"^why$"):
                await made.resolve("a")

    def test_an_answer_that_comes_after_the_end_is_dropped(self, gate):
        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await Resolver(gate.look_up).resolve("a")

        asyncio.run(give_up())
        (thread,) = [each for each in threading.enumerate() if each.name == "resolving a"]
        assert thread.daemon, "the end of the program must not wait for it"
        gate.open()
        thread.join(20)
        assert not thread.is_alive()
