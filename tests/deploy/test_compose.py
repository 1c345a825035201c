import re
from pathlib import Path

import pytest
import yaml

from fastroute.config import load_config
from fastroute.control.supervisor import DRAIN_GRACE
from tests.deploy.dockerfile import PINNED, last_stage, only

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
CONFIG = load_config(ROOT / "deploy" / "compose" / "servers.toml")
OURS = ("fastroute", "standin-1", "standin-2")


class TestFastroute:
    def test_is_where_prometheus_and_users_look(self):
        port = only(last_stage((ROOT / "Dockerfile").read_text()), "EXPOSE").text
        assert SERVICES["fastroute"]["ports"] == [f"{port}:{port}"]
        prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        (target,) = prometheus["scrape_configs"][0]["static_configs"]
        assert target["targets"] == [f"fastroute:{port}"]
        assert CONFIG.admin_port == 0, "the health check and Prometheus ask at the clients' port"

    def test_has_time_to_drain(self):
        seconds = int(SERVICES["fastroute"]["stop_grace_period"].removesuffix("s"))
        assert seconds > CONFIG.drain_timeout + DRAIN_GRACE

    def test_has_its_file_in_a_folder_that_can_change(self):
        (mount,) = SERVICES["fastroute"]["volumes"]
        assert mount == "${FASTROUTE_CONFIG_DIR:-./deploy/compose}:/app:ro"

    def test_routes_to_the_stand_ins(self):
        hosts = [(server.address.host, server.address.port) for server in CONFIG.servers]
        assert hosts == [("standin-1", 8000), ("standin-2", 8000)]
        for name, _ in hosts:
            command = SERVICES[name]["command"]
            assert command[command.index("--port") + 1] == "8000"
            assert SERVICES[name]["profiles"] == ["demo"]


class TestServices:
    @pytest.mark.parametrize("name", SERVICES)
    def test_have_versions(self, name):
        image = SERVICES[name]["image"]
        # Prometheus puts a v before its number.
        assert image == "fastroute:local" or PINNED.fullmatch(image.replace(":v", ":"))

    @pytest.mark.parametrize("name", OURS)
    def test_of_ours_may_do_little(self, name):
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]

    @pytest.mark.parametrize("name", ["prometheus", "grafana"])
    def test_without_a_password_are_this_machines(self, name):
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])

    @pytest.mark.parametrize("name", SERVICES)
    def test_mount_what_is_there(self, name):
        for volume in SERVICES[name].get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", volume).split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_dir(), volume
