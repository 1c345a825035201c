import compileall
import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastroute import __version__
from fastroute.views.dashboard.page import SCRIPTS
from tests.support.command import running, wait_until

ROOT = Path(__file__).parents[1]
NAMES = ("3.11", "3.12", "3.13")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreters() -> dict[str, str]:
    """Pythons of this machine that fastroute is for: this one, and others that are found."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = {}
    for name in NAMES:
        # pyenv's own command for a version is there also while that version is not chosen.
        paths = [shutil.which(f"python{name}"), *pyenv.glob(f"{name}.*/bin/python")]
        usable = [str(path) for path in paths if path and "shims" not in str(path)]
        if usable:
            found[name] = usable[0]
    return found | {THIS: sys.executable}


PYTHONS = interpreters()


@dataclass
class Built:
    """What was built."""

    wheel: Path
    sdist: Path

    @property
    def files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def text(self, end: str) -> str:
        """The one file of the wheel whose name ends so."""
        (name,) = [name for name in self.files if name.endswith(end)]
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.read(name).decode()


def build(source: Path, target: Path, *options: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(name="built", scope="module")
def built_fixture(tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    build(ROOT, target)
    (wheel,) = target.glob("*.whl")
    (sdist,) = target.glob("*.tar.gz")
    return Built(wheel=wheel, sdist=sdist)


class TestWheel:
    def test_is_for_any_python_3(self, built):
        assert built.wheel.name == f"fastroute-{__version__}-py3-none-any.whl"

    def test_has_the_package_and_nothing_else(self, built):
        tops = {name.split("/")[0] for name in built.files}
        assert tops == {"fastroute", f"fastroute-{__version__}.dist-info"}
        packed = {name for name in built.files if name.endswith(".py")}
        sources = {str(path.relative_to(ROOT)) for path in (ROOT / "fastroute").rglob("*.py")}
        assert packed == sources
        assert not any("test" in Path(name).stem.split("_") for name in packed)

    def test_has_what_the_dashboard_is_made_of(self, built):
        folder = Path("fastroute", "views", "dashboard")
        parts = {str(folder / each.name) for each in (ROOT / folder).iterdir() if each.is_file()}
        assert {"page.html", "page.css", *SCRIPTS} <= {Path(part).name for part in parts}
        assert parts <= built.files

    def test_tells_type_checkers_that_it_has_types(self, built):
        assert "fastroute/py.typed" in built.files

    def test_has_command_and_licence(self, built):
        assert built.text("entry_points.txt").split("\n")[:2] == [
            "[console_scripts]",
            "fastroute = fastroute.cli:main",
        ]
        assert built.text("licenses/LICENSE") == (ROOT / "LICENSE").read_text()

    def test_has_metadata(self, built):
        metadata = email.message_from_string(built.text("METADATA"))
        assert (metadata["Name"], metadata["Version"]) == ("fastroute", __version__)
        assert metadata["Requires-Python"] == ">=3.11"
        # What only developers need is not asked of users.
        needs = {re.match(r"[\w-]+", each)[0] for each in metadata.get_all("Requires-Dist")}
        assert "uvloop" in needs
        assert not needs & {"pytest", "mypy", "ruff", "hatchling"}


class TestSdist:
    def test_has_all_to_build_and_test(self, built):
        with tarfile.open(built.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        needed = {
            *("pyproject.toml", "README.md", "LICENSE", "servers.example.toml", "Makefile"),
            *("requirements-dev.lock", "tests/conftest.py", "fastroute/py.typed", "Dockerfile"),
        }
        assert needed <= names
        tops = {name.split("/")[0] for name in names}
        assert not tops & {".git", ".venv", ".ci", ".cache", "dist", "servers.toml"}
        assert not any("__pycache__" in name for name in names)

    def test_builds_the_same_wheel(self, built, tmp_path):
        with tarfile.open(built.sdist) as archive:
            archive.extractall(tmp_path, filter="data")
        (source,) = tmp_path.iterdir()
        build(source, tmp_path / "dist", "--target", "wheel")
        (wheel,) = (tmp_path / "dist").iterdir()
        assert wheel.read_bytes() == built.wheel.read_bytes()


@dataclass
class Installed:
    """A clean environment with the wheel in it."""

    folder: Path
    name: str

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python{self.name}" / "site-packages"

    def run(self, program: str, *arguments: str) -> str:
        """Run something of it, away from the repository; returns what it wrote."""
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def install(built: Built, name: str, folder: Path) -> Installed:
    """Install the wheel into a new environment, as far as that goes without a network."""
    subprocess.run([PYTHONS[name], "-m", "venv", "--without-pip", folder], check=True)
    installed = Installed(folder, name)
    pip = [sys.executable, "-m", "pip", "--python", installed.python, "install", "--quiet"]
    command = [*pip, "--no-index", "--no-deps", "--no-compile", str(built.wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return installed


@pytest.fixture(name="installed", scope="module")
def installed_fixture(built, tmp_path_factory):
    """The wheel, with the packages it needs taken from the environment of the tests."""
    installed = install(built, THIS, tmp_path_factory.mktemp("installed"))
    # Behind its own packages, so that fastroute is the one of the wheel.
    (installed.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return installed


class TestInstalled:
    def test_runs_from_the_wheel(self, installed):
        where = installed.run("python", "-c", "import fastroute; print(fastroute.__file__)")
        assert Path(where.strip()) == installed.packages / "fastroute" / "__init__.py"

    @pytest.mark.parametrize(
        "command", [("fastroute",), ("python", "-m", "fastroute")], ids=["script", "module"]
    )
    def test_has_its_command(self, installed, command):
        assert installed.run(*command, "version") == f"fastroute {__version__}\n"

    def test_shows_off(self, installed, tmp_path):
        demo = ("demo", "--port", "0")
        with running(tmp_path, *demo, python=installed.python, cwd=tmp_path) as command:
            wait_until(lambda: command.get("/health")["healthy_servers"] == 3)
            assert command.get("/livez")["version"] == __version__
            assert command.stop() == 0


class TestPythons:
    @pytest.mark.parametrize("name", PYTHONS)
    def test_take_the_wheel(self, built, name, tmp_path):
        installed = install(built, name, tmp_path / "env")
        version = "import fastroute; print(fastroute.__version__)"
        assert installed.run("python", "-c", version) == f"{__version__}\n"
        assert (installed.folder / "bin" / "fastroute").is_file()
        if name == THIS:
            assert compileall.compile_dir(installed.packages / "fastroute", quiet=1)
        else:
            installed.run("python", "-m", "compileall", "-q", str(installed.packages))
