from fastroute.config import Config, ServerConfig
from fastroute.control.watch.name_check import NameCheck, check_names
from fastroute.net.resolver import Unresolved
from tests.support.names import Names

A = ServerConfig(url="http+dns://a:8000")
B = ServerConfig(url="http+dns://b:8000")
PLAIN = ServerConfig(url="http://10.0.0.2:8000")


async def test_what_is_found():
    names = Names(a=("10.0.0.2", "10.0.0.1"), b=Unresolved("why"))
    config, checks = await check_names(Config(servers=(A, PLAIN, B)), names.resolve)
    assert [server.url for server in config.servers] == ["http://10.0.0.1:8000", PLAIN.url]
    overlap = "http://10.0.0.2:8000 is left out: it has an entry of its own"
    assert checks == [
        NameCheck(url=A.url, addresses=("10.0.0.1", "10.0.0.2"), problems=(overlap,)),
        NameCheck(url=B.url, addresses=(), problems=("it cannot be resolved: why",)),
    ]


async def test_a_name_without_addresses():
    _, (check,) = await check_names(Config(servers=(A,)), Names().resolve)
    assert check.problems == ("it has no address",)


async def test_one_that_hangs_is_not_waited_for():
    names = Names()
    names.hang()
    _, (check,) = await check_names(Config(servers=(A,)), names.resolve, within=0.01)
    assert check.problems == ("it cannot be resolved: no response within 0.01 s",)


async def test_without_names():
    config = Config(servers=(PLAIN,))
    assert await check_names(config, Names().resolve) == (config, [])
