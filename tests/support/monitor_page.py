"""The example screen in docs/monitor.md; run as a module to update it."""

import re
from pathlib import Path

from fastroute.monitor.view.picture import MonitorState
from fastroute.monitor.view.terminal import frame
from tests.support.reports import down, picture, rates, report, server

PAGE = Path(__file__).parents[2] / "docs" / "monitor.md"
PART = re.compile(r"(?<=<!-- rendered: monitor -->\n).*?(?=<!-- end -->)", re.DOTALL)
WIDTH, HEIGHT = 80, 18


def with_picture(page: str) -> str:
    """Return the page with the current screen."""
    return PART.sub(lambda _: f"```text\n{_drawn()}\n```\n", page)


def _drawn() -> str:
    servers = [
        _usual(1, current_load=5.0, utilization_percent=62.5, score=0.625),
        _usual(2, current_load=5.5, utilization_percent=68.8, score=0.6875),
        _crowded(3),
        down(4),
    ]
    summary = {
        "healthy_servers": 3,
        "total_servers": 4,
        "total_active_load": 20.5,
        "total_capacity": 28,
        "overall_utilization_percent": 73.2,
        "total_in_flight": 15,
    }
    made = picture(report=report(*servers, **summary))
    return "\n".join(line.plain.rstrip() for line in frame(made, MonitorState(), WIDTH, HEIGHT))


def _usual(number: int, **changes) -> dict:
    return server(number, recent=rates(4.2, 210.0, 0.0), **changes)


def _crowded(number: int) -> dict:
    engine = {"num_requests_running": 8, "num_requests_waiting": 4, "gpu_cache_usage_perc": 0.94}
    load = {"current_load": 10.0, "utilization_percent": 125.0, "score": 1.25, "in_flight": 9}
    return _usual(number, engine=engine, **load)


if __name__ == "__main__":
    PAGE.write_text(with_picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
