"""The README, CONTRIBUTING and docs/: commands run, settings are valid, links have targets.

Each command of a `console` or `sh` block is run, or is listed in `NOT_RUN` with the reason.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastroute.config import Config, ServerConfig, parse_config, setting_docs
from fastroute.rules.outcome import Outcome
from fastroute.rules.policy import POLICIES
from tests.support import contributing_page, health_page, lifecycle_page
from tests.support.command import RunningCommand, running
from tests.support.configuration_page import EXAMPLE, PAGE, with_policies, with_tables
from tests.support.programs import require
from tests.support.standins import StandInProcess, standin_process

ROOT = Path(__file__).parents[1]
TOP = ("README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*(ROOT / name for name in TOP), *sorted(ROOT.glob("docs/*.md")))
}
NOT_RUN = {
    r"make [a-z-]+": "on the whole project; see test_make_knows and tests/e2e/test_demo.py",
    r"(\S+/)?pip install .+": "needs packages; tests/test_packaging.py installs wheel and sdist",
    r"python3 -m venv .+": "as above",
    r"export PATH=.+": "as above",
    r"/opt/fastroute/bin/fastroute .+": "needs that installation; the same is run without the path",
    r"(uvx|pipx) .+": "needs uv or pipx; tests/test_packaging.py runs what the wheel installs",
    r"vllm serve .+": "needs a GPU; `make test-real` starts vLLM for the CPU",
    r"docker .+|FASTROUTE_CONFIG_DIR=\S+ docker .+": "needs Docker; see `make test-image`",
    r"kubectl .+": "needs a cluster; tests/deploy/test_kubernetes.py checks the manifests",
    r"(systemctl|journalctl|install) .+": "needs systemd; see tests/deploy/test_systemd.py",
    r"promtool .+": "tests/deploy/test_prometheus.py runs it",
}
MODEL = "llama3.1:8b"
TERMS = (
    *("graceful shutdown", "backpressure", "circuit breaker", "outlier", "fallback", "hop-by-hop"),
    *("rotate", "heartbeat", "timeout", "throttle", "ejected", "overloaded", "truncated"),
)
"""The words that engineers search for."""


def blocks(page: str, *languages: str) -> list[str]:
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```$"
    return re.findall(pattern, PAGES[page], re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    text = "".join(blocks(page, "console", "sh")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line]


def reason_not_to_run(command: str) -> str | None:
    found = (why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command))
    return next(found, None)


ALL = dict.fromkeys(command for page in PAGES for command in commands(page))
RUN = [command for command in ALL if reason_not_to_run(command) is None]
STARTS = [command for command in RUN if command.startswith("fastroute run")]
MAKE = {
    target
    for page in PAGES
    for target in re.findall(r"(?:^|`|=\S+ )make ([a-z-]+)", PAGES[page], re.MULTILINE)
}


@dataclass
class Place:
    """Run three stand-ins and a router, with the names used in the pages."""

    folder: Path
    servers: list[StandInProcess]
    router: RunningCommand | None = None

    def here(self, text: str) -> str:
        """Return a page's text with local addresses and the local model."""
        for number, server in enumerate(self.servers, 1):
            text = text.replace(f"gpu-{number}:8000", f"{server.host}:{server.port}")
        if self.router:
            text = re.sub(r"(localhost|router):8888", f"127.0.0.1:{self.router.port}", text)
        return re.sub(r"\bMODEL\b|(?<=--model )M\b", MODEL, text)


@pytest.fixture(name="place", scope="module")
def place_fixture(tmp_path_factory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("docs")
    models = ("--model", MODEL, "--model", "standin")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(standin_process(*models)) for _ in range(3)]
        place = Place(folder, servers)
        (settings,) = blocks("docs/getting-started.md", "toml")
        (folder / "servers.toml").write_text(place.here(settings))
        place.router = stack.enter_context(running(folder, "run", "--port", "0", cwd=folder))
        yield place


def run(command: str, place: Place) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", place.here(command)],
        cwd=place.folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", [command for command in RUN if command not in STARTS])
def test_command(command, place):
    if command.startswith("curl"):
        require("curl", "curl")
    done = run(command, place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert '"error":{' not in done.stdout


@pytest.mark.parametrize("command", STARTS)
def test_start(command, place, tmp_path):
    """It routes to the given servers."""
    (tmp_path / "servers.toml").write_text((place.folder / "servers.toml").read_text())
    arguments = shlex.split(place.here(command))[1:]
    with running(tmp_path, *arguments, "--port", "0", cwd=tmp_path) as router:
        assert set(router.statuses()) <= {server.url for server in place.servers}
        assert len(router.statuses()) >= 2
        assert router.stop() == 0


def test_there_is_something_to_run():
    assert len(RUN) > 10
    assert STARTS


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_reasons_are_needed(pattern):
    assert any(re.fullmatch(pattern, command) for command in ALL)


@pytest.mark.parametrize("file", sorted(set(re.findall(r"tests/\S+\.py", str(NOT_RUN)))))
def test_reasons_name_tests_that_are_there(file):
    assert (ROOT / file).exists()


@pytest.mark.parametrize("target", sorted(MAKE))
def test_make_knows(target):
    made = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_settings(page):
    for block in blocks(page, "toml"):
        servers = "" if "[servers]" in block else '[servers]\nservers = [ { url = "http://a" } ]\n'
        assert parse_config(servers + block, page).servers


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python(page):
    for block in blocks(page, "python"):
        compile(block, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", PAGES[page]):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


def anchors(text: str) -> set[str]:
    """Return GitHub's anchors of headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page):
    for path in re.findall(r"`((?:tests|deploy|fastroute|benchmarks)/[\w./-]+)`", PAGES[page]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_metrics_that_are_named_exist(page):
    named = set(re.findall(r"`(fastroute_[a-z_]+[a-z])`", PAGES[page]))
    table = PAGES["docs/endpoints.md"]
    assert not {name for name in named if f"| `{name}` |" not in table}


def test_the_index_has_every_page():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", PAGES["docs/README.md"]))
    there = {path.name for path in ROOT.glob("docs/*.md")}
    assert listed == there - {"README.md"}


@pytest.mark.parametrize("term", TERMS)
def test_the_standard_terms_are_found(term):
    assert any(term in PAGES[page].lower() for page in PAGES if page.startswith("docs/"))


def test_the_configuration_reference_is_up_to_date():
    """Run `make docs` to render it again."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page)


def test_the_example_of_a_configuration_is_up_to_date():
    """Run `make docs` to render it again."""
    example = EXAMPLE.read_text(encoding="utf-8")
    assert example == with_policies(example)
    assert all(f"#   {name} " in example for name in POLICIES)


def test_the_table_of_endings_is_up_to_date():
    """Run `make docs` to render it again."""
    page = PAGES["docs/lifecycle.md"]
    assert page == lifecycle_page.with_endings(page)


def test_the_tables_of_health_are_up_to_date():
    """Run `make docs` to render them again."""
    page = PAGES["docs/health.md"]
    assert page == health_page.with_tables(page)


@pytest.mark.parametrize("outcome", [outcome.value for outcome in Outcome])
def test_the_access_log_explains_each_outcome(outcome):
    assert re.search(rf"^\|.*`{outcome}`.*\|", PAGES["docs/logs.md"], re.MULTILINE)


def test_the_tree_of_packages_is_up_to_date():
    """Run `make docs` to render it again."""
    page = PAGES["CONTRIBUTING.md"]
    assert page == contributing_page.with_tree(page)


@pytest.mark.parametrize(
    ("part", "struct"),
    [pytest.param("servers", ServerConfig), pytest.param("config", Config)],
)
def test_the_configuration_reference_has_every_setting(part, struct):
    table = PAGES["docs/configuration.md"].partition(f"<!-- rendered: {part} -->")[2]
    table = table.partition("<!-- end -->")[0]
    for doc in setting_docs(struct).values():
        assert table.count(f"| `{doc.name}` |") == 1


def test_the_settings_that_others_are_mapped_to_are_there():
    known = {*setting_docs(Config), *setting_docs(ServerConfig)}
    tables = PAGES["docs/migration.md"].partition("## From nginx")[2]
    cells = [line.split("|")[2] for line in tables.splitlines() if line.startswith("| `")]
    named = {
        name for cell in cells for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)(?: = [^`]+)?`", cell)
    }
    assert len(named) > 20
    assert named <= known
