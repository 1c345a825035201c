import pytest

from fastroute.monitor.keys import Key, KeyReader


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        pytest.param(b"qsp l?", "QUIT SORT PAUSE PAUSE LOG HELP", id="letters"),
        pytest.param(b"\x1b[A\x1b[B\x1bOA\x1bOB", "UP DOWN UP DOWN", id="arrows"),
        pytest.param(b"\x1b[5~\x1b[6~\x1b[H\x1b[F", "PAGE_UP PAGE_DOWN HOME END", id="pages"),
        pytest.param(b"\r\n", "ENTER ENTER", id="enter"),
        pytest.param(b"\x1bq", "ESCAPE QUIT", id="escape-and-letter"),
        pytest.param(b"\x1b\x1b[A", "ESCAPE UP", id="escape-and-arrow"),
        pytest.param(b"\x1b[200~\x1b[1;5Cxyz\xff\xc3\xa4", "", id="unknown-sequences"),
    ],
)
def test_keys(data, keys):
    wanted = [Key[name] for name in keys.split()]
    assert KeyReader().feed(data) == wanted
    # The same for every split of the bytes.
    for cut in range(len(data)):
        reader = KeyReader()
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) + reader.flush() == wanted


def test_escape_is_a_key_if_nothing_follows():
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.is_unfinished
    assert reader.flush() == [Key.ESCAPE]
    assert not reader.is_unfinished
