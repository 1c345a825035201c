from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from fastroute.config import parse_config
from fastroute.control.supervisor import DRAIN_GRACE
from tests.deploy.command_line import options_of

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "kustomization")
RESOURCES = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
VERSIONS = ("1.29", "1.35")

CONFIG_TEXT = RESOURCES["configmap"]["data"]["servers.toml"]
CONFIG = parse_config(CONFIG_TEXT, "servers.toml")
DEPLOYMENT = RESOURCES["deployment"]["spec"]
POD = DEPLOYMENT["template"]
(CONTAINER,) = POD["spec"]["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


class TestSchemas:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("name", RESOURCES)
    def test_are_kept(self, name, version):
        kubernetes_validate.validate(RESOURCES[name], version, strict=True)

    def test_find_a_misspelt_field(self):
        wrong = RESOURCES["service"] | {"spec": {"selektor": {}}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)

    def test_of_everything_that_is_applied(self):
        listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
        assert sorted(listed) == [path.name for path in FILES]


class TestReferences:
    """Names and labels of one resource match their uses in others."""

    @pytest.mark.parametrize(
        "selector",
        [
            DEPLOYMENT["selector"]["matchLabels"],
            RESOURCES["service"]["spec"]["selector"],
            RESOURCES["poddisruptionbudget"]["spec"]["selector"]["matchLabels"],
            POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        ],
        ids=["deployment", "service", "budget", "spread"],
    )
    def test_choose_the_pods(self, selector):
        assert selector.items() <= POD["metadata"]["labels"].items()

    def test_ports(self):
        options = options_of(*CONTAINER["args"])
        assert PORTS["http"] == options["port"]
        assert PORTS["admin"] == CONFIG.admin_port
        (port,) = RESOURCES["service"]["spec"]["ports"]
        assert port["targetPort"] == "http"
        assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(PORTS["admin"])

    def test_the_file(self):
        (volume,) = POD["spec"]["volumes"]
        (mount,) = CONTAINER["volumeMounts"]
        assert volume["configMap"]["name"] == RESOURCES["configmap"]["metadata"]["name"]
        assert mount["name"] == volume["name"]
        # With subPath the file would never be updated after the start of the pod.
        assert "subPath" not in mount
        config = options_of(*CONTAINER["args"])["config"]
        assert Path(config) == Path(mount["mountPath"], "servers.toml")


class TestLife:
    @pytest.mark.parametrize(
        ("probe", "path"),
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")],
    )
    def test_is_probed(self, probe, path):
        assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "admin"}

    def test_ends_in_the_time_there_is(self):
        command, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep"
        needed = int(seconds) + CONFIG.drain_timeout + DRAIN_GRACE
        assert POD["spec"]["terminationGracePeriodSeconds"] > needed

    def test_never_has_fewer_pods_while_it_is_replaced(self):
        assert DEPLOYMENT["replicas"] >= 2
        assert DEPLOYMENT["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert RESOURCES["poddisruptionbudget"]["spec"]["maxUnavailable"] == 1


class TestRights:
    def test_are_few(self):
        assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
        assert POD["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert POD["spec"]["automountServiceAccountToken"] is False
        assert CONTAINER["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
