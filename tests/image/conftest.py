"""Tests of the built image; run by `make test-image`, not by a plain `pytest`.

They build the Dockerfile with podman, which needs root, the network, and some minutes.
"""

from pathlib import Path

import pytest

from tests.image.engine import build_image, missing

TIMEOUT = 1200


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore these files unless they are requested."""
    return None if config.option.markexpr == "image" else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow time for the first test to build the image."""
    for item in items:
        if item.get_closest_marker("image"):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The image."""
    lacking = missing()
    assert not lacking, f"these tests need {', '.join(lacking)}; see docs/deployment.md"
    build_image()
