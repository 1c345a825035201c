"""Check that the hot path is compiled in a run of the tests (`make test-compiled`)."""

import importlib
import os
import subprocess
import sys

import pytest

from hatch_build import MODULES

COMPILED = os.environ.get("FASTROUTE_COMPILED") == "1"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_what_the_run_says(name):
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(".so") is COMPILED


def test_processes_are_what_the_run_says(tmp_path):
    """Also outside the tests' own process: routers are started from other directories, too."""
    code = "import fastroute.proxy.exchange; print(fastroute.proxy.exchange.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(".so") is COMPILED
