"""The README: its two commands come first, its tables are current, both languages match.

test_docs.py checks that its commands run.
"""

import re
from pathlib import Path

import pytest

from fastroute.cli.commands import app
from fastroute.config import Config, ServerConfig, parse_config, setting_docs
from fastroute.views.endpoints import ENDPOINTS
from tests.deploy.command_line import options_of
from tests.support.command import run_command
from tests.support.configuration_page import shown_default

ROOT = Path(__file__).parent.parent
BENCH = re.compile(r"<!-- bench: `make bench`.*?<!-- bench: end -->\n", re.DOTALL)
WHOLE = (ROOT / "README.md").read_text(encoding="utf-8")
# Without the parts updated by each measurement.
README = BENCH.sub("", WHOLE)
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def tables(text: str) -> list[list[list[str]]]:
    """Return each table's rows and their cells, without headings and rules."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|\n").split("|")] for row in table.splitlines()[2:]]
        for table in found
    ]


def heads(text: str) -> list[int]:
    """Return the levels of the headings, in order; comments in code blocks do not count."""
    without_blocks = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", without_blocks, re.MULTILINE)]


(SETTINGS,) = blocks("toml")
COMMANDS, ROWS, PATHS = tables(README)


def test_it_starts_with_the_two_commands():
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert commands[:2] == ["make demo", "make test"]


def test_it_has_one_place_for_the_figures():
    assert len(BENCH.findall(WHOLE)) == 1


def test_settings():
    assert len(parse_config(SETTINGS, "README.md").servers) == 2


def test_check_config(tmp_path):
    (tmp_path / "servers.toml").write_text(SETTINGS)
    done = run_command("check-config", cwd=tmp_path)
    assert done.returncode == 0
    assert "gpu-server-1" in done.stdout


@pytest.mark.parametrize(("name", "default"), [(row[0].strip("`"), row[1]) for row in ROWS])
def test_defaults(name, default):
    struct = Config if name in setting_docs(Config) else ServerConfig
    assert default == shown_default(struct, name)


@pytest.mark.parametrize("command", [row[0].strip("`") for row in COMMANDS])
def test_commands(command):
    words = command.replace("URL", "http://router:8888").split()[1:]
    assert isinstance(options_of(*words), dict)


def test_all_commands_are_there():
    shown = {row[0].strip("`").split()[1] for row in COMMANDS}
    known = {each.name or each.callback.__name__ for each in app.registered_commands}
    assert shown | {"version"} == {name.replace("_", "-") for name in known}


def test_endpoints():
    shown = {row[0].strip("`") for row in PATHS}
    assert shown | {"/"} == {endpoint.path.decode() for endpoint in ENDPOINTS}


class TestChinese:
    def test_has_the_same_headings(self):
        assert heads(CHINESE) == heads(README)

    @pytest.mark.parametrize("language", ["console", "toml", "python"])
    def test_has_the_same_blocks(self, language):
        assert blocks(language, CHINESE) == blocks(language)

    def test_has_the_same_tables(self):
        shown = [[row[:-1] for row in table] for table in tables(CHINESE)]
        assert shown == [[row[:-1] for row in table] for table in tables(README)]

    def test_has_the_same_pictures(self):
        pattern = r"!\[[^\]]+\]\(([^)]+)\)"
        assert re.findall(pattern, CHINESE) == re.findall(pattern, README)

    def test_has_the_same_lists(self):
        pattern = re.compile(r"^- ", re.MULTILINE)
        assert len(pattern.findall(CHINESE)) == len(pattern.findall(README))

    def test_leads_to_the_same_pages(self):
        pattern = re.compile(r"\]\(((?:docs/|benchmarks/|servers)[^)]+)\)")
        # Only one of the two contains the figures.
        others = {"docs/performance.md"}
        english, chinese = (set(pattern.findall(text)) - others for text in (README, CHINESE))
        assert chinese == english
