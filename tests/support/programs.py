"""Programs of the system that some tests need, such as tmux."""

import os
import shutil

import pytest


def require(name: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, and in CI it fails.

    Args:
        name: Of the program.
        package: Debian's package that has it.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    message = f"no {name} here; it is in Debian's package {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
