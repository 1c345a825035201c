import pytest

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import expand, followed

TWO = ("10.0.0.1", "10.0.0.2")
ONE = ("10.0.0.1",)
A = ServerConfig(url="http+dns://a:8000", max_concurrent_requests=16, weight=2.0, api_key="k")
B = ServerConfig(url="http+dns://b:8000")


def urls(config: Config) -> list[str]:
    return [server.url for server in config.servers]


class TestExpand:
    def test_each_address_is_a_server_with_the_settings_of_the_entry(self):
        written = Config(servers=(A,), max_retries=1)
        config = expand(written, {A.address: ("10.0.0.1", "fd00::1")}).config
        assert config.max_retries == 1
        assert config.servers == (
            ServerConfig(
                url="http://10.0.0.1:8000",
                max_concurrent_requests=16,
                weight=2.0,
                api_key="k",
                discovered_from="http+dns://a:8000",
            ),
            ServerConfig(
                url="http://[fd00::1]:8000",
                max_concurrent_requests=16,
                weight=2.0,
                api_key="k",
                discovered_from="http+dns://a:8000",
            ),
        )

    def test_it_is_spoken_to_by_its_name(self):
        entry = ServerConfig(url="https+dns://a")
        (server,) = expand(Config(servers=(entry,)), {entry.address: ONE}).config.servers
        assert (server.address.host, server.address.port) == ("10.0.0.1", 443)
        assert (server.called.authority, server.called.tls_name) == ("a", "a")

    def test_an_unknown_name_has_no_servers(self):
        plain = ServerConfig(url="http://c:1")
        assert urls(expand(Config(servers=(A, plain, B)), {B.address: ()}).config) == ["http://c:1"]

    def test_in_the_order_of_the_file(self):
        plain = ServerConfig(url="http://c:1")
        found = {A.address: ONE, B.address: ("10.0.0.9",)}
        assert urls(expand(Config(servers=(B, plain, A)), found).config) == [
            *("http://10.0.0.9:8000", "http://c:1", "http://10.0.0.1:8000"),
        ]

    @pytest.mark.parametrize("first", [True, False], ids=["before-it", "behind-it"])
    def test_a_server_that_is_written_out_keeps_its_settings(self, first):
        plain = ServerConfig(url="http://10.0.0.1:8000", max_concurrent_requests=3)
        servers = (plain, A) if first else (A, plain)
        expansion = expand(Config(servers=servers), {A.address: TWO})
        assert plain in expansion.config.servers
        assert sorted(urls(expansion.config)) == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]
        assert expansion.left_out == {
            A.url: ("http://10.0.0.1:8000 is left out: it has an entry of its own",)
        }

    def test_of_two_names_with_one_address_the_first_has_it(self):
        expansion = expand(Config(servers=(B, A)), {A.address: TWO, B.address: ONE})
        assert [(s.url, s.discovered_from) for s in expansion.config.servers] == [
            ("http://10.0.0.1:8000", B.url),
            ("http://10.0.0.2:8000", A.url),
        ]
        assert expansion.left_out == {
            A.url: ("http://10.0.0.1:8000 is left out: it is also an address of http+dns://b:8000",)
        }

    def test_another_port_is_another_server(self):
        other = ServerConfig(url="http+dns://a:8001")
        expansion = expand(Config(servers=(A, other)), {A.address: ONE, other.address: ONE})
        assert urls(expansion.config) == ["http://10.0.0.1:8000", "http://10.0.0.1:8001"]
        assert not expansion.left_out

    def test_names(self):
        assert followed(Config(servers=(ServerConfig(url="http://c"), A, B))) == [A, B]
