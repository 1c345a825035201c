"""/metrics of a whole fastroute: any worker relays it, the supervisor renders it."""

import gzip
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support.command import running

SERVER = "http://127.0.0.1:9"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.fixture(name="router", scope="module")
def router_fixture(tmp_path_factory):
    options = ("run", "--host", "127.0.0.1", "--port", "0", "--workers", "2", "--server", SERVER)
    with running(tmp_path_factory.mktemp("metrics"), *options) as router:
        yield router


def ask(router, **headers: str) -> tuple[str, str | None, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{router.port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.headers["Content-Encoding"], answer.read()


@pytest.mark.parametrize(
    ("accept", "content_type", "read"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", read_text),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0", read_openmetrics),
    ],
    ids=["text", "openmetrics"],
)
def test_formats(router, accept, content_type, read):
    found, _, body = ask(router, Accept=accept)
    assert found.startswith(content_type)
    families = {family.name: family for family in read(body.decode())}
    (capacity,) = families["fastroute_server_capacity"].samples
    assert capacity.labels == {"server": SERVER}
    assert len(families["fastroute_client_connections"].samples) == 2


def test_compressed(router):
    _, encoding, body = ask(router, **{"Accept-Encoding": "gzip"})
    assert encoding == "gzip"
    assert b"\nfastroute_build_info{" in gzip.decompress(body)


def test_each_request_is_counted_once(router):
    def local() -> float:
        families = {f.name: f for f in read_text(ask(router)[2].decode())}
        return sum(sample.value for sample in families["fastroute_local_requests"].samples)

    before = local()
    assert [local() - before for _ in range(3)] == [1, 2, 3]
