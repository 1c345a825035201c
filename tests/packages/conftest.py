"""Tests of wheels for every Python found; run by `make test-packages`, not by a plain `pytest`.

Each is compiled by its own interpreter, and installed with its dependencies from the package index.
"""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore these files unless they are requested."""
    return None if config.option.markexpr == "packages" else True
