"""Reports of /load-stats for tests."""

import copy
from typing import Any

import orjson

from fastroute.api.outlier import outliers
from fastroute.api.report import Report, read_answer
from fastroute.monitor.view.picture import MonitorData
from fastroute.views.endpoints import VIEWS
from fastroute.wording import short_names
from tests.support.views import example_view

EXAMPLE = orjson.loads(VIEWS[b"/load-stats"](example_view()).body)


RATES = ("requests_per_second", "tokens_per_second", "errors_per_second")


def server(number: int, **changes: Any) -> dict[str, Any]:
    """Return gpu-`number`: up, at half load, with the model `llama`, its rates unknown.

    `engine` changes its detailed metrics, `recent` and `requests` the parts of these names.
    """
    made = copy.deepcopy(EXAMPLE["servers"][0])
    made["url"] = f"http://gpu-{number}.cluster.local:8000"
    made["models"] = ["llama"]
    made["detailed_metrics"] |= changes.pop("engine", {})
    made["recent"] |= dict.fromkeys(RATES) | changes.pop("recent", {})
    made["requests"] |= changes.pop("requests", {})
    return made | changes


def down(number: int, reason: str = "cannot connect: Connection refused") -> dict[str, Any]:
    made = copy.deepcopy(EXAMPLE["servers"][1])
    made["url"] = f"http://gpu-{number}.cluster.local:8000"
    made["models"] = ["llama"]
    return made | {"state_reason": reason}


def report(*servers: dict[str, Any], **summary: Any) -> Report:
    """A report of servers: with their names, totals of their rates, and what stands out."""
    made = copy.deepcopy(EXAMPLE)
    names = short_names([each["url"] for each in servers])
    made["servers"] = [each | {"name": names[each["url"]]} for each in servers]
    made["summary"]["config"]["error"] = None
    made["summary"]["dns_names"] = []
    for rate in RATES:
        known = [each["recent"][rate] for each in servers if each["recent"][rate] is not None]
        made["summary"]["recent"][rate] = sum(known) if known else None
    made["summary"] |= summary
    for outlier in outliers(read_answer(orjson.dumps(made), Report).servers):
        for each in made["servers"]:
            if each["url"] == outlier.url:
                each["outlier"] = outlier.text
    return read_answer(orjson.dumps(made), Report)


def rates(requests: float | None, tokens: float | None, errors: float | None) -> dict[str, Any]:
    """Return the rates of `recent`."""
    return dict(zip(RATES, (requests, tokens, errors), strict=True))


def picture(*servers: dict[str, Any], **fields: Any) -> MonitorData:
    """Return data for the monitor."""
    values = {"source": "http://router:8888", "clock": "12:00:01"}
    return MonitorData(**(values | {"report": report(*servers)} | fields))
