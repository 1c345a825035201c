from pathlib import Path

from benchmarks.comparison.environments import ROOT, sources, sources_digest


def test_the_sources_are_those_of_the_package():
    found = set(sources())
    assert {Path("pyproject.toml"), Path("README.md"), Path("LICENSE")} <= found
    package = {path.relative_to(ROOT) for path in (ROOT / "fastroute").rglob("*.py")}
    assert package <= found
    for path in found:
        assert path.parts[0] not in ("tests", "benchmarks", ".git", ".venv", ".bench")
        assert path.suffix not in (".so", ".pyc")


def test_the_digest_is_that_of_the_files():
    """It is stable: a wheel is rebuilt only when its sources have changed."""
    assert sources_digest() == sources_digest()
