import pytest

from fastroute.wording import (
    bar,
    clock,
    count,
    percent,
    seconds,
    short_names,
    shortened_name,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((None, "-"), (0, "0"), (0.04, "0.0"), (0.26, "0.3"), (9.94, "9.9"), (9.96, "10")),
        *((17, "17"), (999, "999"), (999.4, "999"), (999.6, "1.0k"), (1234, "1.2k")),
        *((9960, "10k"), (999_499, "999k"), (999_600, "1.0M"), (85e6, "85M"), (2e9, "2.0G")),
    ],
)
def test_count(number, text):
    assert count(number) == text
    assert len(text) <= 4


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        *((None, "-"), (0, "0.0ms"), (0.0021, "2.1ms"), (0.0464, "46ms"), (0.9994, "999ms")),
        *((0.9996, "1.0s"), (9.94, "9.9s"), (9.96, "10s"), (119.4, "119s"), (125, "2m")),
        *((7000, "117m"), (7300, "2h"), (200_000, "2d")),
    ],
)
def test_seconds(duration, text):
    assert seconds(duration) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0, "0%"), (0.562, "56%"), (9.99, "999%"), (12.2, "12x")]
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(5, "0:00:05"), (4000, "1:06:40"), (90_061, "1d 1:01:01")]
)
def test_clock(duration, text):
    assert clock(duration) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "░░│░░"), (0.5, "██│░░"), (0.75, "██│█░"), (3, "██│██")]
)
def test_bar(share, text):
    assert bar(share, 4) == text


@pytest.mark.parametrize(
    ("urls", "names"),
    [
        pytest.param(["http://gpu-1:8000"], ["gpu-1"], id="one"),
        pytest.param(["http://gpu-1.x:1", "http://gpu-2.x:2"], ["gpu-1", "gpu-2"], id="domain"),
        pytest.param(["http://a.x:1", "http://a.y:1"], ["a.x", "a.y"], id="unlike-domains"),
        pytest.param(["http://x:1", "http://a.x:1"], ["x", "a.x"], id="host-is-domain"),
        pytest.param(["http://h:1", "http://h:2"], ["h:1", "h:2"], id="ports"),
        pytest.param(["http://10.0.0.1:1", "http://10.1.0.1:1"], ["10.0.0.1", "10.1.0.1"], id="ip"),
        pytest.param(["http://[::1]:1", "http://[::2]:1"], ["::1", "::2"], id="ipv6"),
        pytest.param(["http://h:1", "https://h:1"], ["http://h:1", "https://h:1"], id="schemes"),
        pytest.param([], [], id="none"),
    ],
)
def test_short_names(urls, names):
    assert list(short_names(urls).values()) == names


@pytest.mark.parametrize(
    ("name", "text"),
    [("gpu-1", "gpu-1"), ("gpu-server-1", "gpu-ser…"), ("10.0.0.1:8000", "….1:8000"), ("", "")],
)
def test_shortened_name(name, text):
    assert shortened_name(name, 8) == text
