import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastroute.config import Config
from fastroute.control.supervisor import DRAIN_GRACE
from fastroute.control.workers.descriptors import RESERVED
from tests.deploy.command_line import options_of
from tests.support.programs import require

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "fastroute.service"
DEFAULTS = Config(servers=())


def settings() -> dict[str, list[str]]:
    """Return the settings of the unit, in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


class TestUnit:
    def test_starts_fastroute(self):
        (command,) = settings()["ExecStart"]
        program, *words = shlex.split(command)
        assert Path(program).name == "fastroute"
        options = options_of(*words)
        (folder,) = settings()["ConfigurationDirectory"]
        assert Path(options["config"]) == Path("/etc", folder, "servers.toml")

    def test_reloads_by_the_signal_for_it(self):
        assert settings()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]

    def test_has_a_folder_for_logs(self):
        """All other folders are read-only (ProtectSystem=strict)."""
        assert settings()["LogsDirectory"] == ["fastroute"]

    def test_lets_it_drain(self):
        # SIGTERM to the workers as well would stop them immediately.
        assert settings()["KillMode"] == ["mixed"]
        (seconds,) = settings()["TimeoutStopSec"]
        assert int(seconds) > DEFAULTS.drain_timeout + DRAIN_GRACE

    def test_has_descriptors_for_all_clients(self):
        (limit,) = settings()["LimitNOFILE"]
        assert int(limit) >= 2 * DEFAULTS.max_connections + RESERVED

    @pytest.mark.parametrize(
        "setting",
        [
            *("DynamicUser=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet="),
            *("ProtectSystem=strict", "ProtectHome=yes", "MemoryDenyWriteExecute=yes"),
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
            "SystemCallFilter=@system-service",
        ],
    )
    def test_gives_few_rights(self, setting):
        name, _, value = setting.partition("=")
        assert value in settings()[name]


class TestSystemd:
    def test_understands_all_of_it(self, tmp_path):
        # It searches for the program, which is not installed here.
        installed = tmp_path / UNIT.name
        program = shlex.split(settings()["ExecStart"][0])[0]
        installed.write_text(UNIT.read_text().replace(program, sys.executable))
        done = self.analyze("verify", "--man=no", str(installed))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_finds_little_exposed(self):
        # In tenths: 2.0 of 10.
        done = self.analyze("security", "--offline=true", "--threshold=20", str(UNIT))
        assert done.returncode == 0, done.stdout

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess:
        program = require("systemd-analyze", "systemd")
        return subprocess.run(
            [program, "--no-pager", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
