import json

import orjson
import pytest

from fastroute.views.endpoints import ENDPOINTS, METRICS, VIEWS
from tests.support.docs import PAGE, with_examples
from tests.support.views import example_view, view


def test_the_root_names_service_version_and_endpoints():
    reply = VIEWS[b"/"](example_view())
    report = json.loads(reply.body)
    assert reply.status == 200
    assert (report["service"], report["version"]) == ("fastroute", "1.2.3")
    assert list(report["endpoints"]) == [endpoint.path.decode() for endpoint in ENDPOINTS]
    assert set(report["endpoints"]) == {
        "/", "/dashboard",
        "/health", "/livez", "/readyz", "/load-stats", "/server-models", "/metrics"
    }  # fmt: skip


def test_all_but_metrics_are_rendered_by_workers():
    assert {endpoint.path for endpoint in ENDPOINTS} - VIEWS.keys() == {METRICS}


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize(
    "shown", [pytest.param(view(), id="nothing"), pytest.param(example_view(), id="example")]
)
def test_each_renders(path, shown):
    reply = VIEWS[path](shown)
    assert reply.status in (200, 503)
    assert reply.body
    if path != b"/dashboard":
        orjson.loads(reply.body)


def test_the_documentation_shows_what_is_rendered():
    """Run `python -m tests.support.docs` to update it."""
    assert PAGE.read_text(encoding="utf-8") == with_examples(PAGE.read_text(encoding="utf-8"))
