"""Sizes, tests beside each module, and the first words of docstrings, for all of fastroute/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bodies import ROOT

PACKAGE = ROOT / "fastroute"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = {"module": 400, "class": 250, "function": 55}
FIRST_WORDS_THAT_NAME_NOTHING = {"What", "Whether", "Who", "How"}

TOO_LONG: set[str] = set()
"""Modules, classes and functions that are still too long. The list only shrinks."""

TESTED_ELSEWHERE = {
    # They are parts of a server of the fleet.
    "control/fleet/own_limits.py": "control/fleet/test_fleet.py",
    "control/fleet/server_load.py": "control/fleet/test_fleet.py",
    # They start something, and tests start it as a process.
    "__main__.py": "cli/test_commands.py",
    "standin/__main__.py": "standin/test_main.py",
    "cli/run_router.py": "e2e/test_admin_port.py",
    # They show something; tests look at what a process shows.
    "cli/doctor.py": "e2e/test_doctor.py",
    "cli/route.py": "e2e/test_route.py",
    "monitor/monitor.py": "e2e/test_monitor.py",
    "monitor/screen.py": "e2e/test_monitor.py",
    "monitor/terminal.py": "e2e/test_monitor.py",
    "monitor/top.py": "e2e/test_monitor.py",
    # A struct.
    "doctor/measure/bench.py": "doctor/measure/test_reach.py",
    # The parts of an exchange, which its tests take as a whole.
    "proxy/attempt.py": "proxy/test_exchange.py",
    "proxy/reply.py": "proxy/test_exchange_replies.py",
    # A server of a fleet, which the fleet's tests take as a whole.
    "control/fleet/context.py": "control/fleet/test_fleet.py",
    "control/fleet/server.py": "control/fleet/test_fleet.py",
    "control/fleet/server_models.py": "control/fleet/test_fleet.py",
    # What the table of health reads and writes.
    "rules/health_record.py": "rules/test_health.py",
}
"""Modules without a test file of their own name, and where they are tested."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def sizes(path: Path) -> Iterator[tuple[str, str, int]]:
    """Return kind, name and lines of a module and what it defines."""
    text = path.read_text()
    yield "module", name_of(path), len(text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield kind, f"{name_of(path)}:{node.name}", lines


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Return name and docstring of a module and what it defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text


def test_nothing_is_too_long():
    found = {
        name: lines
        for path in MODULES
        for kind, name, lines in sizes(path)
        if lines > MAX_LINES[kind]
    }
    assert found.keys() <= TOO_LONG, {n: found[n] for n in found.keys() - TOO_LONG}


def test_the_list_of_what_is_too_long_shrinks():
    found = {name: (kind, lines) for path in MODULES for kind, name, lines in sizes(path)}
    short = {name for name in TOO_LONG if name not in found or fits(*found[name])}
    assert not short, "take these off TOO_LONG"


def fits(kind: str, lines: int) -> bool:
    return lines <= MAX_LINES[kind]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_has_a_test_of_its_name(path):
    name = name_of(path)
    if path.name == "__init__.py" and not defines_something(path):
        return
    own = Path(name).with_name(f"test_{path.stem}.py")
    if path.name == "__init__.py":
        own = Path(name).parent.with_name(f"test_{Path(name).parent.name}.py")
    assert (ROOT / "tests" / TESTED_ELSEWHERE.get(name, own)).is_file()


def defines_something(path: Path) -> bool:
    body = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in body)


def test_the_list_of_modules_tested_elsewhere_has_no_other():
    assert {name_of(path) for path in MODULES} >= TESTED_ELSEWHERE.keys()
    for name in TESTED_ELSEWHERE:
        own = Path(name).with_name(f"test_{Path(name).stem}.py")
        assert not (ROOT / "tests" / own).is_file(), f"{own} is there: take {name} off the list"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_docstrings_start_with_a_noun_or_a_verb(path):
    """`Number of ...`, `True if ...`: not a question word, which names nothing."""
    found = [
        f"{name}: {text.splitlines()[0]}"
        for name, text in docstrings(path)
        if text.split()[0].rstrip(",:") in FIRST_WORDS_THAT_NAME_NOTHING
    ]
    assert not found
