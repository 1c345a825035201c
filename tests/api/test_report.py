import pytest

from fastroute.api.report import ModelsReport, Report, read_answer
from fastroute.views.endpoints import VIEWS
from tests.support.reports import report, server
from tests.support.views import example_view


def test_what_fastroute_answers_is_understood():
    body = VIEWS[b"/load-stats"](example_view()).body
    read = read_answer(body, Report)
    assert [each.status for each in read.servers] == ["up", "down"]
    assert read.summary.version == "1.2.3"
    models = read_answer(VIEWS[b"/server-models"](example_view()).body, ModelsReport)
    assert models.by_url() == {"http://gpu-server-1:8081": ("llama3.1:8b", "sql-lora")}


@pytest.mark.parametrize("body", [b"", b"Not Found", b"[]", b'{"servers": []}', b"\xff"])
def test_what_is_none(body):
    with pytest.raises(ValueError, match=r".*"):
        read_answer(body, Report)


@pytest.mark.parametrize(
    ("engine", "rate"),
    [
        ({"prefix_cache_queries_total": 200, "prefix_cache_hits_total": 50}, 0.25),
        ({"prefix_cache_queries_total": 0, "prefix_cache_hits_total": 0}, None),
        ({"prefix_cache_queries_total": None, "prefix_cache_hits_total": None}, None),
    ],
    ids=["some", "no-queries", "unknown"],
)
def test_prefix_hit_rate(engine, rate):
    assert report(server(1, engine=engine)).servers[0].detailed_metrics.prefix_hit_rate == rate
