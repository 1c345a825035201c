import asyncio
import threading

import pytest

from fastroute.net.resolver import Resolver, Unresolved, addresses_of
from tests.support.names import Names
from tests.support.standins import until

ONE = ("10.0.0.1",)
OTHER = ("10.0.0.2", "10.0.0.3")


@pytest.fixture
def names():
    made = Names(a=ONE)
    yield made
    made.go_on()


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

    async def test_is_asked_in_a_thread(self):
        assert "127.0.0.1" in await Resolver().resolve("localhost")


class TestResolve:
    async def test_one_look_up_at_a_time_for_each_name(self, names):
        names.hang()
        asking = [asyncio.create_task(names.resolve("a")) for _ in range(3)]
        await until(lambda: names.asked["a"] == 1)
        names.go_on()
        assert await asyncio.gather(*asking) == [ONE] * 3
        assert names.asked["a"] == 1
        await names.resolve("a")
        assert names.asked["a"] == 2

    async def test_names_do_not_wait_for_each_other(self, names):
        names.hang()
        # More than any pool of threads has.
        asking = [asyncio.create_task(names.resolve(f"a{n}")) for n in range(50)]
        await until(lambda: names.asked.total() == 50)
        names.go_on()
        await asyncio.gather(*asking)

    async def test_who_gave_up_gets_the_answer_by_asking_again(self, names):
        names.hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await names.resolve("a")
        again = asyncio.create_task(names.resolve("a"))
        await asyncio.sleep(0)
        names.go_on()
        assert await again == ONE
        assert names.asked["a"] == 1

    async def test_no_answer(self, names):
        names.answers["a"] = Unresolved("why")
        for _ in range(2):
            with pytest.raises(Unresolved, match=r"^why$"):
                await names.resolve("a")

    def test_an_answer_that_comes_after_the_end_is_dropped(self, names):
        names.hang()

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await names.resolve("late")

        asyncio.run(give_up())
        (thread,) = [each for each in threading.enumerate() if each.name == "resolving late"]
        assert thread.daemon, "the end of the program must not wait for it"
        names.go_on()
        thread.join(20)
        assert not thread.is_alive()


class TestLocate:
    """Addresses to connect to: the last result is cached, and used as a fallback."""

    async def test_a_fresh_answer_is_used_again(self, names):
        for _ in range(3):
            assert await names.resolver.locate("a") == ONE
        assert names.asked["a"] == 1

    @pytest.fixture
    def stale(self):
        """Results expire immediately."""
        made = Names(fresh=0.0, a=ONE)
        yield made
        made.go_on()

    async def test_one_that_was_begun_is_at_hand(self, names):
        names.resolver.prefetch("a")
        await until(lambda: names.asked["a"] == 1)
        await names.resolver.locate("a")
        names.hang()
        names.resolver.prefetch("a")
        assert await names.resolver.locate("a") == ONE
        assert names.asked["a"] == 1

    async def test_an_older_one_is_renewed(self, stale):
        await stale.resolver.locate("a")
        stale.answers["a"] = OTHER
        assert await stale.resolver.locate("a") == OTHER

    async def test_an_older_one_helps_out_where_there_is_none(self, stale):
        await stale.resolver.locate("a")
        stale.answers["a"] = Unresolved("why")
        for _ in range(2):
            assert await stale.resolver.locate("a") == ONE

    async def test_an_older_one_helps_out_while_the_resolver_hangs(self, stale):
        await stale.resolver.locate("a")
        stale.hang()
        stale.answers["a"] = OTHER
        for _ in range(2):
            assert await stale.resolver.locate("a") == ONE
        assert stale.asked["a"] == 2
        stale.go_on()
        await until(lambda: not stale.resolver._pending)
        stale.hang()
        assert await stale.resolver.locate("a") == OTHER

    async def test_that_there_is_no_such_name_is_an_answer(self, stale):
        await stale.resolver.locate("a")
        stale.answers["a"] = ()
        with pytest.raises(Unresolved, match="no such name"):
            await stale.resolver.locate("a")
        stale.answers["a"] = Unresolved("why")
        with pytest.raises(Unresolved, match="why"):
            await stale.resolver.locate("a")

    async def test_the_first_one_is_waited_for(self, names):
        names.hang()
        asking = asyncio.create_task(names.resolver.locate("a"))
        await until(lambda: names.asked["a"] == 1)
        names.go_on()
        assert await asking == ONE
