import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.command_line import options_of
from tests.deploy.dockerfile import faults, instructions, last_stage, only
from tests.support.command import running

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGE = last_stage(DOCKERFILE)
GOOD = """
FROM python:3.13-slim AS build
RUN ["sh", "-c", "apt-get update && apt-get install -y --no-install-recommends gcc"]
RUN ["pip", "install", "--no-cache-dir", "--require-hashes", "-r", "x.lock"]
FROM python:3.13-slim
USER 10001:10001
EXPOSE 8888
HEALTHCHECK --interval=5s \\
    CMD ["true"]
ENTRYPOINT ["fastroute"]
"""


class TestFaults:
    """The lint itself."""

    def test_of_a_good_file(self):
        assert faults(GOOD) == []

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            ("FROM python:3.13-slim\n", "FROM python\n", "base without a version: python"),
            ("FROM python:3.13-slim\n", "FROM p:latest\n", "base without a version: p:latest"),
            ('["fastroute"]', "fastroute", "ENTRYPOINT in shell form"),
            ('["true"]', "true", "HEALTHCHECK in shell form"),
            ("USER 10001:10001", "USER 0", "runs as root, or as a name that may be root"),
            ("USER 10001:10001", "USER app", "runs as root, or as a name that may be root"),
            ("USER 10001:10001\n", "", "runs as root, or as a name that may be root"),
            ("EXPOSE 8888\n", "", "no EXPOSE"),
            ("EXPOSE", "ENV API_KEY=x\nEXPOSE", "a secret in ENV"),
            ("EXPOSE", "COPY . /src\nEXPOSE", "COPY of everything"),
            ("EXPOSE", "ADD x /src\nEXPOSE", "ADD where COPY says what happens"),
            ("EXPOSE", "WORKDIR app\nEXPOSE", "relative WORKDIR app"),
            ("EXPOSE", 'RUN ["pip", "check"]\nEXPOSE', "the shipped image builds"),
            ("EXPOSE", 'RUN ["apt-get", "update"]\nEXPOSE', "the shipped image builds"),
            (" --no-install-recommends", "", "apt-get installs what nobody asked for"),
            (
                "apt-get update && ",
                "",
                "apt-get may know only what was there when a layer was kept",
            ),
            ('"--no-cache-dir", ', "", "pip leaves its cache"),
            ('"--require-hashes", ', "", "pip takes whatever version there is"),
        ],
        ids=lambda value: value.strip()[:24] if isinstance(value, str) else None,
    )
    def test_are_found(self, before, after, expected):
        assert before in GOOD
        assert faults(GOOD.replace(before, after)) == [expected]


class TestImage:
    def test_has_no_faults(self):
        assert faults(DOCKERFILE) == []

    def test_is_compiled_or_is_not_built(self):
        (build,) = [each.words() for each in instructions(DOCKERFILE) if "hatchling" in each.text]
        assert build[:2] == ["env", "FASTROUTE_COMPILED=1"]

    def test_starts_fastroute_with_the_mounted_file(self):
        words = [*only(STAGE, "ENTRYPOINT").words(), *only(STAGE, "CMD").words()]
        assert words[0] == "fastroute"
        options = options_of(*words[1:])
        assert (str(options["config"]), options["host"]) == ("/app/servers.toml", "0.0.0.0")
        assert only(STAGE, "EXPOSE").text == str(options["port"])
        assert only(STAGE, "WORKDIR").text == "/app"

    def test_is_stopped_by_the_signal_that_drains(self):
        assert only(STAGE, "STOPSIGNAL").text == "SIGTERM"

    def test_health_check_asks_where_the_router_listens(self):
        where = re.search(r"FASTROUTE_LIVEZ=(\S+)", only(STAGE, "ENV").text)
        assert where[1] == f"http://127.0.0.1:{only(STAGE, 'EXPOSE').text}/livez"

    def test_health_check_tells_alive_from_dead(self, tmp_path):
        with running(tmp_path, "run", "--port", "0", "--server", "http://127.0.0.1:9") as router:
            # Alive, although its only server is down.
            assert self.health(router.url).returncode == 0
        dead = self.health(router.url)
        assert dead.returncode == 1
        assert "Connection refused" in dead.stderr

    def health(self, url: str) -> subprocess.CompletedProcess:
        python, *arguments = only(STAGE, "HEALTHCHECK").words()
        assert python == "python"
        # A proxy in the environment is for outgoing connections, not for this.
        env = {"FASTROUTE_LIVEZ": url + "/livez", "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(
            [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False
        )


def lets_in(path: str) -> bool:
    """Return True if .dockerignore includes a file in the build; the last match decides."""
    decided = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        parents = [str(parent) for parent in Path(path).parents][:-1]
        if pattern and not pattern.startswith("#"):
            plain = pattern.removeprefix("**/")
            names = (path, *parents) if plain == pattern else Path(path).parts
            if any(fnmatch(name, plain) for name in names):
                decided = line.strip().startswith("!")
    return decided


class TestWhatIsBuiltOf:
    @pytest.mark.parametrize(
        "path",
        [
            *("servers.toml", ".git/config", ".venv/bin/python", "deploy/compose/servers.toml"),
            *("tests/conftest.py", "fastroute/__pycache__/cli.pyc", ".env"),
        ],
    )
    def test_keeps_out(self, path):
        assert not lets_in(path)

    def test_has_all_that_is_copied(self):
        copied = [
            source
            for each in instructions(DOCKERFILE)
            if each.name == "COPY" and not each.text.startswith("--from")
            for source in each.text.split()[:-1]
        ]
        assert "fastroute" in copied
        for source in copied:
            assert (ROOT / source).exists(), source
            assert lets_in(source), source
        assert lets_in("fastroute/rules/policy.py")


def pins(name: str) -> dict[str, str]:
    """Return the pinned packages of a lock file, with versions and hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.lstrip().startswith("#"))
    return {line.split("==")[0]: " ".join(line.split()) for line in lines}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


class TestLocks:
    """The image has exactly the packages that the tests use."""

    @pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
    def test_are_part_of_what_was_tested(self, name):
        found = pins(f"deploy/image/{name}")
        tested = pins("requirements-dev.lock")
        assert found
        assert all("--hash=sha256:" in pin for pin in found.values())
        assert {package: tested.get(package) for package in found} == found

    def test_have_what_the_project_asks_for(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        assert names(project["project"]["dependencies"]) <= set(
            pins("deploy/image/requirements.lock")
        )
        assert names(project["build-system"]["requires"]) <= set(pins("deploy/image/build.lock"))
