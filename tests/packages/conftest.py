"""Wheels of every Python that is found; `make test-packages` runs them, a plain `pytest` does not.

Each is compiled by its own interpreter, and installed with what it needs from the package index.
"""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these files alone unless they are asked for."""
    return None if config.option.markexpr == "packages" else True
