import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.promql import Rendered
from tests.support.programs import require

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
RENDERED = Rendered.of_example()


class TestRules:
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
    def test_name_what_is_there(self, rule):
        assert RENDERED.faults(rule["expr"]) == []
        assert set(re.findall(r"\b\w+:[\w:]+", rule["expr"])) <= RECORDED

    def test_have_names_of_their_own(self):
        names = [rule["alert"] for rule in ALERTS]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
    def test_say_how_bad_and_what(self, rule):
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]

    @pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
    def test_are_explained_to_who_is_paged(self, rule):
        page = (ROOT / "docs" / "operations.md").read_text()
        assert f"\n### {rule['alert']}\n" in page

    def test_are_all_tested(self):
        tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
        cases = [case for test in tests for case in test["alert_rule_test"]]
        fire = {case["alertname"] for case in cases if case["exp_alerts"]}
        assert fire == {rule["alert"] for rule in ALERTS}


class TestConfiguration:
    def test_reads_the_rules_and_asks_fastroute(self):
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        assert config["rule_files"] == ["alerts.yml"]
        (job,) = config["scrape_configs"]
        # FastrouteDown goes by this name.
        assert job["job_name"] == "fastroute"
        assert job.get("metrics_path", "/metrics") == "/metrics"


class TestPromtool:
    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param(("check", "rules", "alerts.yml"), id="rules"),
            # With the rules that it names.
            pytest.param(("check", "config", "prometheus.yml"), id="config"),
            pytest.param(("test", "rules", "alerts_test.yml"), id="tests"),
        ],
    )
    def test_agrees(self, arguments):
        promtool = require("promtool", "prometheus")
        done = subprocess.run(
            [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
