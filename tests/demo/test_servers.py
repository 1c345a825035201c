import json
import urllib.error
import urllib.request

import pytest

from fastroute.demo.servers import SPEEDS, DemoServer, demo_config, demo_servers
from fastroute.errors import ConfigError


def models(server: DemoServer) -> list[str]:
    with urllib.request.urlopen(f"http://{server.address}/v1/models", timeout=10) as reply:
        return [each["id"] for each in json.load(reply)["data"]]


def refuses(server: DemoServer) -> bool:
    try:
        models(server)
    except urllib.error.URLError as error:
        return "refused" in str(error)
    return False


def test_servers_respond_and_stop_with_the_demo():
    with demo_servers(4) as servers:
        assert len({server.address for server in servers}) == 4
        assert all(models(server) == ["standin"] for server in servers)
        assert [server.speed for server in servers] == [*SPEEDS, SPEEDS[0]]
        config = demo_config(servers)
    assert all(map(refuses, servers))
    urls = [f"http://{server.address}" for server in servers]
    assert [server.url for server in config.servers] == urls
    assert [server.max_concurrent_requests for server in config.servers] == [
        server.speed.slots for server in servers
    ]


def test_a_restarted_server_keeps_its_port():
    with demo_servers(1) as (server,):
        address = server.address
        server.kill()
        assert refuses(server)
        server.start()
        server.wait_listening()
        assert server.address == address
        assert models(server) == ["standin"]


def test_a_port_in_use_is_an_error():
    with demo_servers(1) as (server,):
        other = DemoServer(SPEEDS[0])
        other._port = server._port
        other.start()
        with pytest.raises(ConfigError, match="did not start"):
            other.wait_listening()
        other.stop()
