import msgspec
import pytest

from fastroute.errors import ConfigError
from fastroute.server_address import ServerAddress


class TestServerAddress:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            pytest.param("http://gpu:8000", ("gpu", 8000, False, "gpu:8000"), id="plain"),
            pytest.param("http://gpu:8000/", ("gpu", 8000, False, "gpu:8000"), id="slash"),
            pytest.param("http://gpu", ("gpu", 80, False, "gpu"), id="usual-port"),
            pytest.param("http://gpu.:1", ("gpu.", 1, False, "gpu.:1"), id="rooted-name"),
            pytest.param("http://gpu:80", ("gpu", 80, False, "gpu"), id="usual-port-given"),
            pytest.param("http://gpu:", ("gpu", 80, False, "gpu"), id="empty-port"),
            pytest.param("https://gpu", ("gpu", 443, True, "gpu"), id="https"),
            pytest.param("https://gpu:80", ("gpu", 80, True, "gpu:80"), id="https-on-80"),
            pytest.param("HTTP://GPU-1.Lab:9", ("gpu-1.lab", 9, False, "gpu-1.lab:9"), id="case"),
            pytest.param("http://10.0.0.1:1", ("10.0.0.1", 1, False, "10.0.0.1:1"), id="ipv4"),
            pytest.param("http://[::1]:8000", ("::1", 8000, False, "[::1]:8000"), id="ipv6"),
            pytest.param(
                "https://[FE80::0:1]", ("fe80::1", 443, True, "[fe80::1]"), id="ipv6-case"
            ),
        ],
    )
    def test_parses_a_url(self, url, expected):
        assert msgspec.structs.astuple(ServerAddress.from_url(url)) == (*expected, False)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            pytest.param("", "", id="empty"),
            pytest.param("gpu:8000", "", id="no-scheme"),
            pytest.param("ftp://gpu", "", id="other-scheme"),
            pytest.param("http://gpu:80 80", "", id="space"),
            pytest.param("http://gpu\n:8000", "", id="line-break"),
            pytest.param("http://gpü", "", id="not-ascii"),
            pytest.param("http://[::1", "", id="open-bracket"),
            pytest.param("http://", ", with a host name or an IP address", id="no-host"),
            pytest.param("http://:8000", ", with a host name or an IP address", id="only-port"),
            pytest.param("http://a,b", ", with a host name or an IP address", id="comma"),
            pytest.param("http://a..b", ", with a host name or an IP address", id="empty-label"),
            pytest.param(f"http://{'a' * 64}", ", with a host name", id="long-label"),
            pytest.param(f"http://{'a.' * 127}a", ", with a host name", id="long-name"),
            pytest.param("http://[fe80::1%25eth0]:1", ", with a plain IPv6", id="zone"),
            pytest.param("http://[1:2]:1", "", id="short-ipv6"),
            pytest.param("http://gpu:0", ", with a port from 1 to 65535", id="port-0"),
            pytest.param("http://gpu:65536", ", with a port from 1 to 65535", id="port-high"),
            pytest.param("http://gpu:x", ", with a port from 1 to 65535", id="port-word"),
            pytest.param("http://gpu:1/v1", ", without path, query or fragment", id="path"),
            pytest.param("http://gpu:1?a=b", ", without path, query or fragment", id="query"),
            pytest.param("http://gpu:1?", ", without path, query or fragment", id="empty-query"),
            pytest.param("http://gpu:1#x", ", without path, query or fragment", id="fragment"),
            pytest.param("http://me:pw@gpu", ", without user name and password", id="userinfo"),
        ],
    )
    def test_rejects(self, url, reason):
        with pytest.raises(ConfigError) as caught:
            ServerAddress.from_url(url)
        assert f"must be http://host:port or https://host:port{reason}" in str(caught.value)


class TestNames:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            pytest.param("http+dns://vllm:8000", ("vllm", 8000, False, "vllm:8000"), id="http"),
            pytest.param("https+dns://vllm/", ("vllm", 443, True, "vllm"), id="https"),
            pytest.param("HTTP+DNS://VLLM.Lab:1", ("vllm.lab", 1, False, "vllm.lab:1"), id="case"),
        ],
    )
    def test_are_parsed(self, url, expected):
        address = ServerAddress.from_url(url)
        assert msgspec.structs.astuple(address) == (*expected, True)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            pytest.param("dns://vllm:8000", "must be http://host:port or", id="bare"),
            pytest.param("dns+http://vllm:8000", "must be http://host:port or", id="turned"),
            pytest.param("grpc+dns://vllm:1", "must be http+dns://name:port or", id="scheme"),
            pytest.param("http+dns://", "must be http+dns://name:port or", id="no-name"),
            pytest.param("http+dns://a:0", "with a port from 1 to 65535", id="port"),
            pytest.param("http+dns://a/v1", "without path, query or fragment", id="path"),
            pytest.param("http+dns://10.0.0.1:8000", "write http://", id="ipv4"),
            pytest.param("https+dns://[::1]:8000", "write https://", id="ipv6"),
        ],
    )
    def test_rejects(self, url, reason):
        with pytest.raises(ConfigError) as caught:
            ServerAddress.from_url(url)
        assert reason in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "host", "url"),
        [
            ("http+dns://vllm:8000", "10.0.0.7", "http://10.0.0.7:8000"),
            ("http+dns://vllm", "10.0.0.7", "http://10.0.0.7:80"),
            ("https+dns://vllm", "fd00::7", "https://[fd00::7]:443"),
        ],
    )
    def test_a_server_at_one_of_its_addresses(self, name, host, url):
        server = ServerAddress.from_url(name).at(host)
        assert server.url == url
        assert server == ServerAddress.from_url(url)

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("http://vllm", None),
            ("https://vllm.lab.:8000", "vllm.lab"),
            ("https+dns://vllm:8000", "vllm"),
            ("https://[::1]:1", "::1"),
        ],
    )
    def test_tls_name(self, url, name):
        assert ServerAddress.from_url(url).tls_name == name
