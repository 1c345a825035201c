"""Each Python builds its own wheel, installs it as a user does, and routes with it."""

import os
import subprocess

import pytest

from fastroute import __version__
from hatch_build import MODULES
from tests.support.wheels import (
    COMPILED,
    NAMES,
    PYTHONS,
    ROOT,
    build,
    clean_environment,
    environment,
    modules_in_use,
    pip_install,
    unpacked,
)

pytestmark = [pytest.mark.packages, pytest.mark.timeout(900)]
SAID = f"fastroute {__version__} (compiled)\n"
LOCKS = ROOT / "deploy" / "image"


@pytest.fixture(name="source", scope="module")
def source_fixture(tmp_path_factory):
    """The project, unpacked from its source distribution."""
    sdist = build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")
    return unpacked(sdist, tmp_path_factory.mktemp("source"))


@pytest.fixture(name="python", scope="module", params=NAMES)
def python_fixture(request):
    if request.param not in PYTHONS:
        pytest.skip(f"no Python {request.param} here")
    return request.param


@pytest.fixture(name="wheel", scope="module")
def wheel_fixture(python, source, tmp_path_factory):
    """A wheel compiled by this Python, with the versions of deploy/image/build.lock."""
    builder = clean_environment(python, tmp_path_factory.mktemp("builder"))
    pip_install(builder, "--require-hashes", "--requirement", str(LOCKS / "build.lock"))
    target = tmp_path_factory.mktemp("wheel")
    return build(source, target, "wheel", python=builder.python, **COMPILED)


def test_builds_a_wheel_of_its_own(wheel, python):
    tag = "cp" + python.replace(".", "")
    assert wheel.name.startswith(f"fastroute-{__version__}-{tag}-{tag}-linux_")


def test_installs_and_routes(wheel, python, tmp_path):
    installed = clean_environment(python, tmp_path / "env")
    pip_install(installed, "--require-hashes", "--requirement", str(LOCKS / "requirements.lock"))
    # Fails if a dependency is missing.
    pip_install(installed, "--no-index", str(wheel))
    assert "Usage: fastroute" in installed.run("fastroute", "--help")
    assert installed.run("fastroute", "--version") == SAID
    assert installed.run("python", "-m", "fastroute", "version") == SAID
    assert modules_in_use(installed, tmp_path) == set(MODULES)


@pytest.fixture(name="runners", scope="module")
def runners_fixture(tmp_path_factory):
    """An environment with uv and pipx."""
    made = clean_environment(next(iter(PYTHONS)), tmp_path_factory.mktemp("runners"))
    pip_install(made, "uv", "pipx")
    return made


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["uvx", "--python", "{python}", "--from", "{wheel}"], id="uvx"),
        pytest.param(["pipx", "run", "--python", "{python}", "--spec", "{wheel}"], id="pipx"),
    ],
)
def test_runs_without_being_installed(wheel, python, runners, command, tmp_path):
    """Install as in docs/deployment.md, without changes in the user's own folders."""
    words = [word.format(python=PYTHONS[python], wheel=wheel) for word in command]
    folders = {"UV_CACHE_DIR": "uv", "UV_TOOL_DIR": "tools", "PIPX_HOME": "pipx"}
    done = subprocess.run(
        [str(runners.folder / "bin" / words[0]), *words[1:], "fastroute", "version"],
        cwd=tmp_path,
        env=environment(
            **{name: str(tmp_path / folder) for name, folder in folders.items()},
            PATH=f"{runners.folder / 'bin'}:{os.environ['PATH']}",
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, SAID), done.stderr
