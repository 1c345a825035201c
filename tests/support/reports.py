"""Reports of /load-stats for tests."""

import copy
from typing import Any

import orjson

from fastroute.api.report import Report, read_answer
from fastroute.monitor.view.picture import MonitorData
from fastroute.views.endpoints import VIEWS
from tests.support.views import example_view

EXAMPLE = orjson.loads(VIEWS[b"/load-stats"](example_view()).body)


def server(number: int, **changes: Any) -> dict[str, Any]:
    """Return gpu-`number`: up, at half load; `engine` changes its detailed metrics."""
    made = copy.deepcopy(EXAMPLE["servers"][0])
    made["url"] = f"http://gpu-{number}.cluster.local:8000"
    made["detailed_metrics"] |= changes.pop("engine", {})
    made["recent"] |= changes.pop("recent", {})
    made["requests"] |= changes.pop("requests", {})
    return made | changes


def down(number: int, reason: str = "cannot connect: Connection refused") -> dict[str, Any]:
    made = copy.deepcopy(EXAMPLE["servers"][1])
    made["url"] = f"http://gpu-{number}.cluster.local:8000"
    return made | {"state_reason": reason}


def report(*servers: dict[str, Any], **summary: Any) -> Report:
    made = copy.deepcopy(EXAMPLE)
    made["servers"] = list(servers)
    made["summary"]["config"]["error"] = None
    made["summary"]["dns_names"] = []
    made["summary"] |= summary
    return read_answer(orjson.dumps(made), Report)


def picture(*servers: dict[str, Any], **fields: Any) -> MonitorData:
    """Return data for the monitor, of servers that all have the model `llama`."""
    models = {each["url"]: ("llama",) for each in servers}
    values = {"source": "http://router:8888", "models": models, "clock": "12:00:01"}
    return MonitorData(**(values | {"report": report(*servers)} | fields))
