import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastroute.views.exposition import Exposition, label


def samples(text):
    families = text_string_to_metric_families(text.encode().decode())
    return [(s.name, s.labels, s.value) for family in families for s in family.samples]


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        pytest.param("", 'x=""', id="empty"),
        pytest.param("http://gpu-1:8000", 'x="http://gpu-1:8000"', id="plain"),
        pytest.param('a"b', r'x="a\"b"', id="quote"),
        pytest.param("a\\b", r'x="a\\b"', id="backslash"),
        pytest.param("a\nb", r'x="a\nb"', id="line-break"),
        pytest.param("\\n", r'x="\\n"', id="backslash-n-is-no-line-break"),
        pytest.param("a\0b", 'x="a\ufffdb"', id="nul"),
        pytest.param("a}b,c=d", 'x="a}b,c=d"', id="signs-of-the-format"),
        pytest.param("模型/ü", 'x="模型/ü"', id="unicode"),
    ],
)
def test_label(value, escaped):
    assert label("x", value) == escaped
    text = Exposition()
    text.family("m", "gauge", "About.")
    text.sample(label("x", value), 1)
    assert samples(text) == [("m", {"x": value.replace("\0", "\ufffd")}, 1)]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(0, "0", id="zero"),
        pytest.param(2**53 + 1, "9007199254740993", id="large-integers-whole"),
        pytest.param(0.1, "0.1", id="float"),
        pytest.param(1e-9, "1e-09", id="small"),
    ],
)
def test_value(value, written):
    text = Exposition()
    text.family("m_total", "counter", "About.")
    text.sample("", value)
    assert text.encode().decode() == (
        f"# HELP m_total About.\n# TYPE m_total counter\nm_total {written}\n"
    )


def test_histogram():
    text = Exposition()
    text.family("m_seconds", "histogram", "About.")
    text.histogram(label("x", "a"), ("0.5", "1.0", "+Inf"), (2, 0, 3), 7.25)
    assert samples(text) == [
        ("m_seconds_bucket", {"x": "a", "le": "0.5"}, 2),
        ("m_seconds_bucket", {"x": "a", "le": "1.0"}, 2),
        ("m_seconds_bucket", {"x": "a", "le": "+Inf"}, 5),
        ("m_seconds_sum", {"x": "a"}, 7.25),
        ("m_seconds_count", {"x": "a"}, 5),
    ]


def test_families_follow_each_other():
    text = Exposition()
    for name in ("a", "b"):
        text.family(name, "gauge", f"About {name}.")
        text.sample("", 1)
    families = list(text_string_to_metric_families(text.encode().decode()))
    assert [(f.name, f.type, f.documentation) for f in families] == [
        ("a", "gauge", "About a."),
        ("b", "gauge", "About b."),
    ]
