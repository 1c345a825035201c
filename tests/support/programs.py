"""External programs that some tests need, such as tmux."""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest


def require(name: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, and in CI it fails.

    Args:
        name: Name of the program.
        package: Debian package of the program.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    _lacks(name, package)


def require_compiler() -> None:
    """Skip the test, or fail in CI, if C extensions cannot be compiled for this Python."""
    require("gcc", "gcc")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        _lacks("Python.h", "python3-dev")


def _lacks(name: str, package: str) -> NoReturn:
    message = f"no {name} here; it is in Debian's package {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
