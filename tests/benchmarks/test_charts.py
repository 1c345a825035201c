import xml.etree.ElementTree as ET

from benchmarks.charts import Chart

SVG = "{http://www.w3.org/2000/svg}"


def bars_of(chart: Chart) -> list[float]:
    """Return the widths of the bars; the first rectangle is the page."""
    (_, *bars) = ET.fromstring(chart.svg()).findall(f"{SVG}rect")
    return [float(bar.get("width")) for bar in bars]


def texts_of(chart: Chart) -> list[str]:
    return [text.text for text in ET.fromstring(chart.svg()).findall(f"{SVG}text")]


def test_bars_are_as_long_as_their_values():
    one, two, four = bars_of(Chart("", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 4.0}}))
    assert (round(two / one, 2), round(four / one, 2)) == (2, 4)


def test_a_name_has_the_same_colour_in_each_group():
    chart = Chart("", {"a": {"x": 1.0, "y": 2.0}, "b": {"y": 1.0}})
    (_, x, y, again) = ET.fromstring(chart.svg()).findall(f"{SVG}rect")
    assert x.get("fill") != y.get("fill") == again.get("fill")


def test_names_and_values_are_written():
    texts = texts_of(Chart("Less < more & so on", {"a": {"x": 1234.5}}, ",.0f"))
    assert texts == ["Less < more & so on", "a", "x", "1,234"]


def test_values_of_nothing_are_drawn():
    assert bars_of(Chart("", {"a": {"x": 0.0}})) == [1.0]
