import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from tests.deploy.promql import Rendered

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "dashboards" / "fastroute.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = DASHBOARD["templating"]["list"]
RENDERED = Rendered.of_example()
WIDTH = 24
BUILT_IN = {"__rate_interval", "__interval"}


def expressions() -> list:
    """Return all Prometheus queries of the dashboard."""
    asked = [
        pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
        for panel in PANELS
        for target in panel["targets"]
    ]
    asked += [
        pytest.param(each["expr"], id=each["name"]) for each in DASHBOARD["annotations"]["list"]
    ]
    return asked + [
        pytest.param(each["definition"], id=f"variable {each['name']}")
        for each in VARIABLES
        if each["type"] == "query"
    ]


class TestExpressions:
    @pytest.mark.parametrize("expression", expressions())
    def test_name_what_is_there(self, expression):
        assert "fastroute_" in expression
        assert RENDERED.faults(expression) == []

    @pytest.mark.parametrize("expression", expressions())
    def test_use_variables_that_are_defined(self, expression):
        used = set(re.findall(r"\$\{?(\w+)", expression))
        assert used <= {each["name"] for each in VARIABLES} | BUILT_IN


class TestPanels:
    def test_are_told_apart(self):
        identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
        assert len(set(identifiers)) == len(identifiers)

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_ask_the_chosen_prometheus(self, panel):
        assert panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source["uid"] == "${datasource}" for source in sources)

    def test_do_not_lie_over_each_other(self):
        places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
        assert all(0 <= place["x"] <= WIDTH - place["w"] for place in places)
        for one, other in combinations(places, 2):
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or below, (one, other)


class TestProvisioning:
    """docker-compose.yml, provisioning and dashboard fit together."""

    def test_finds_prometheus(self):
        (source,) = yaml.safe_load(
            (FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text()
        )["datasources"]
        assert (source["type"], source["isDefault"]) == ("prometheus", True)
        assert source["url"] == "http://prometheus:9090"

    def test_finds_the_dashboard(self):
        (provider,) = yaml.safe_load(
            (FOLDER / "provisioning" / "dashboards" / "fastroute.yml").read_text()
        )["providers"]
        grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
        mounts = dict(volume.split(":")[:2][::-1] for volume in grafana["volumes"])
        inside = provider["options"]["path"]
        assert mounts[inside] == "./deploy/grafana/dashboards"
        assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
        home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        assert home == f"{inside}/fastroute.json"
