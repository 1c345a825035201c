"""The installed program in a directory whose files are named like what it imports."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import RunningCommand, wait_until

NOWHERE = "http://127.0.0.1:9"

AS_INSTALLED = ("-P",)
"""Options that leave the current directory out of the module search path, as a console script."""

DECOYS = (
    "fastroute",
    "uvloop",
    "httptools",
    "msgspec",
    "asyncio",
    "json",
    "gc",
    "runpy",
    "typer",
    "rich",
)


@pytest.fixture(name="decoys")
def decoys_fixture(tmp_path):
    """A directory with a package of each name; importing one leaves a mark and fails."""
    folder = tmp_path / "decoys"
    for name in DECOYS:
        package = folder / name
        package.mkdir(parents=True)
        mark = tmp_path / "imported"
        (package / "__init__.py").write_text(
            f"open({str(mark)!r}, 'a').write('{name} ')\nraise 1\n"
        )
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("run", "--port", "0", "--server", NOWHERE), id="run"),
        pytest.param(("demo", "--port", "0", "--no-traffic"), id="demo"),
    ],
)
def test_nothing_is_imported_from_the_current_directory(tmp_path, decoys, arguments):
    """Workers were started with `python -c`, which imports from the current directory first."""
    router = RunningCommand(tmp_path, *arguments, cwd=decoys, python_options=AS_INSTALLED)
    try:
        router.wait_listening()
        wait_until(lambda: len(router.worker_pids()) == 1)
    finally:
        assert router.stop() == 0, router.stderr()
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("check-config", "--config", "servers.toml"), id="check-config"),
        pytest.param(("doctor", "--no-generate", "--config", "servers.toml"), id="doctor"),
        pytest.param(("route", "--model", "m", "--server", NOWHERE), id="route"),
        pytest.param(("top", "--once", NOWHERE), id="top"),
        pytest.param(("version",), id="version"),
    ],
)
@pytest.mark.parametrize("options", [AS_INSTALLED, ()], ids=["installed", "python-m"])
def test_neither_by_commands_without_child_processes(tmp_path, decoys, options, arguments):
    """Without -P, Python itself imports `runpy` and `fastroute` from there, before we run."""
    if not options:
        for name in ("fastroute", "runpy"):
            shutil.rmtree(decoys / name)
    (decoys / "servers.toml").write_text(f'[servers]\nservers = [{{ url = "{NOWHERE}" }}]\n')
    done = subprocess.run(
        [sys.executable, *options, "-m", "fastroute", *arguments],
        cwd=decoys, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert not Path(tmp_path / "imported").exists()
