from fastroute.monitor.view.picture import Sort
from fastroute.monitor.view.server_page import server_page
from tests.support.reports import down, picture, rates, server


def page(*servers: dict, **fields) -> dict[str, str]:
    """Return the text behind each label, for the last server."""
    lines = server_page(picture(*servers, **fields).lines(Sort.CONFIG)[-1])
    pairs = (line.plain.split("  ", 1) for line in lines if "  " in line.plain)
    return {label: text.strip() for label, text in pairs}


def test_page():
    shown = page(server(1, recent=rates(12.0, 345.0, 0.5)))
    assert shown["gpu-1.cluster.local"] == "http://gpu-1.cluster.local:8000"
    assert shown["state"] == "up for 60s"
    assert shown["models"] == "llama"
    assert shown["load"] == ("██████████│█░░░░░░░░░ 56%   4.5 of 8: own 3, other clients 1.5")
    assert shown["engine"] == "running 4, waiting 1, preempted 2"
    assert shown["now"] == "12 requests/s, 345 tokens/s, 0.5 errors/s"
    assert shown["first byte"] == "p50 46ms, p99 954ms"
    assert shown["retries"] == "connect 2, reset 0, busy 0, failed 0"


def test_a_server_that_is_down():
    assert page(down(1))["state"] == "down for 20s: cannot connect: Connection refused"


def test_resolved_from():
    assert page(server(1, discovered_from="http+dns://vllm:8000"))["resolved from"] == (
        "http+dns://vllm:8000"
    )
    assert "resolved from" not in page(server(1))


def test_outlier():
    shown = page(server(1), server(2, engine={"num_requests_waiting": 12}))
    assert shown["outlier"] == "12x the waiting of the other (12 against 1)"


def test_it_fits_a_small_terminal():
    lines = server_page(picture(server(1)).lines(Sort.CONFIG)[0])
    assert len(lines) <= 21
    assert max(line.cell_len for line in lines) <= 80
