"""A real Prometheus scrapes a real router: all metrics of alerts and dashboard exist."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.deploy.promql import METRIC
from tests.support.command import running, wait_until
from tests.support.ports import free_port
from tests.support.programs import require
from tests.support.standins import standin_process
from tests.support.traffic import traffic

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "fastroute.json").read_text())
CONFIG = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: fastroute
    static_configs: [ {{ targets: ["127.0.0.1:{port}"] }} ]
"""
VARIABLE = re.compile(r"\$\{?(\w+)(:\w+)?\}?")
VALUES = {"job": "fastroute", "__rate_interval": "1m", "__interval": "1m"}
"""Of the dashboard's variables; of the others everything is chosen."""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what: str, **query: str) -> dict | list:
        with urllib.request.urlopen(
            f"{self._api}{what}?{urllib.parse.urlencode(query)}", timeout=10
        ) as reply:
            return json.load(reply)["data"]

    def query(self, expression: str) -> list:
        return self.ask("query", query=expression)["result"]

    def answers(self) -> bool:
        try:
            return bool(self.query("1"))
        except urllib.error.URLError:
            return False


@pytest.fixture(name="prometheus", scope="module")
def prometheus_fixture(tmp_path_factory):
    """Scrapes a router with a name and two servers, one down, that had requests of every kind."""
    program = require("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with standin_process() as server:
        urls = (server.url, "http://127.0.0.1:9", "http+dns://localhost:10")
        servers = [word for url in urls for word in ("--server", url)]
        options = ("--host", "127.0.0.1", "--port", "0")
        with running(folder, "run", *options, *servers) as router, traffic(router.port):
            config = folder / "prometheus.yml"
            config.write_text(CONFIG.format(alerts=ALERTS, port=router.port))
            port = free_port()
            with subprocess.Popen(
                [
                    *(program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data"),
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    made = Prometheus(port)
                    wait_until(made.answers, 30)
                    # Rates need two samples; a scrape that timed out has up = 0 and none.
                    wait_until(lambda: made.query("sum_over_time(up[1m]) >= 3"), 30)
                    yield made
                finally:
                    process.terminate()


def test_it_is_up(prometheus):
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


@pytest.mark.parametrize("file", ["alerts", "dashboard"])
def test_every_metric_that_is_asked_for_is_there(prometheus, file):
    text = ALERTS.read_text() if file == "alerts" else json.dumps(DASHBOARD)
    # The names of rules have colons.
    named = set(METRIC.findall(re.sub(r"\b\w+:[\w:]+", "", text)))
    assert len(named) > 10
    there = set(prometheus.ask("label/__name__/values"))
    assert named - there == set()


def test_every_rule_can_be_evaluated(prometheus):
    def rules() -> list[dict]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), 60)
    wrong = [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"]
    assert wrong == []


def panels() -> list:
    return [
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.parametrize("expression", panels())
def test_every_panel_can_be_drawn(prometheus, expression):
    filled = VARIABLE.sub(lambda variable: VALUES.get(variable[1], ".*"), expression)
    assert prometheus.query(filled), filled
