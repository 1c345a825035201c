import pytest

from fastroute.monitor.view.picture import Sort
from fastroute.monitor.view.server_table import (
    COLUMNS,
    fitted,
    heading,
    layout,
    level_style,
    second_line,
    server_line,
)
from tests.support.reports import down, picture, server


def lines(*servers: dict, **fields):
    return picture(*servers, **fields).lines(Sort.CONFIG)


@pytest.mark.parametrize(
    ("share", "style"),
    [(None, ""), (0, "green"), (0.699, "green"), (0.7, "yellow"), (0.899, "yellow"), (0.9, "red")],
)
def test_level_style(share, style):
    assert level_style(share) == style


def test_80_columns():
    made = lines(server(1), down(2))
    chosen = layout(made, 80)
    assert heading(chosen).plain.split() == [
        *("SERVER", "STATE", "LOAD", "%", "RUN", "WAIT", "OWN", "CAP", "KV", "REQ/S", "TOK/S"),
        *("P99", "ERR"),
    ]
    assert server_line(made[0], chosen).plain.split() == [
        *("gpu-1", "up", "███│░░░", "56%", "4", "1", "3", "8", "31%", "-", "-", "990ms", "1"),
    ]
    assert second_line(made[1], chosen).plain.strip() == (
        "cannot connect: Connection refused, llama, score 0.00, hit -, p50 -, err/s -, age -"
    )


def test_a_wide_terminal_has_all_columns_and_the_models():
    made = lines(server(1))
    chosen = layout(made, 150)
    assert chosen.hidden() == []
    assert server_line(made[0], chosen).plain.split()[-2:] == ["250ms", "llama"]
    assert second_line(made[0], chosen).plain == ""


@pytest.mark.parametrize("width", [*range(20, 200, 7), 80, 160])
def test_lines_fit(width):
    made = lines(server(1), down(2), server(100, url="http://10.10.100.100:65535"))
    chosen = layout(made, width)
    texts = [heading(chosen), *(server_line(line, chosen) for line in made)]
    assert {text.cell_len for text in texts} == {texts[0].cell_len}
    assert texts[0].cell_len <= width


def test_long_names_get_the_remaining_width():
    name = "a-server-with-a-rather-long-name"
    made = lines(server(1, url=f"http://{name}:8000"))
    assert server_line(made[0], layout(made, 80)).plain.startswith(" a-server-with-…")
    assert name in server_line(made[0], layout(made, 160)).plain


def test_an_outlier_is_marked_without_colour():
    made = lines(server(1), server(2, engine={"num_requests_waiting": 12}))
    plain = [server_line(line, layout(made, 80)).plain for line in made]
    assert [line[0] for line in plain] == [" ", "!"]


def test_escape_sequences_of_servers_do_not_reach_the_terminal():
    made = lines(down(1, "\x1b[2J") | {"models": ["\x1b]0;x\a"]})
    assert "\x1b" not in second_line(made[0], layout(made, 80)).plain


def test_every_column_is_explained():
    assert all(column.about for column in COLUMNS)


@pytest.mark.parametrize(
    ("text", "left", "expected"),
    [
        ("ab", True, "ab  "),
        ("ab", False, "  ab"),
        ("abcdef", True, "abc…"),
        ("日本語", True, "日 …"),
    ],
)
def test_fitted(text, left, expected):
    assert fitted(text, 4, left=left).plain == expected
