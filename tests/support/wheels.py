"""Builds wheels of fastroute, installs them in clean environments, and inspects them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import running, wait_until
from tests.support.standins import standin_process

ROOT = Path(__file__).parents[2]
NAMES = ("3.11", "3.12", "3.13")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
PURE = {"FASTROUTE_PURE": "1"}
COMPILED = {"FASTROUTE_COMPILED": "1"}
BODY = b'{"model": "standin", "messages": [], "max_tokens": 2}'
JSON = {"Content-Type": "application/json"}


def interpreters() -> dict[str, str]:
    """Return the supported Pythons of this machine: this one, and others that are found."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = {}
    for name in NAMES:
        # pyenv's command for a version exists even if that version is not selected.
        paths = [shutil.which(f"python{name}"), *pyenv.glob(f"{name}.*/bin/python")]
        usable = [str(path) for path in paths if path and "shims" not in str(path)]
        if usable:
            found[name] = usable[0]
    return found | {THIS: sys.executable}


PYTHONS = interpreters()


def environment(**changed: str) -> dict[str, str]:
    """Return the environment without build and module settings, and with `changed`."""
    unwanted = ("PYTHONPATH", *PURE, *COMPILED)
    return {name: value for name, value in os.environ.items() if name not in unwanted} | changed


def hatchling(
    source: Path, target: Path, kind: str, *, python: str = sys.executable, **env: str
) -> subprocess.CompletedProcess:
    """Build with the hatchling of an interpreter; the build may fail.

    Args:
        source: The project's directory.
        target: Folder for the result.
        kind: "wheel" or "sdist".
        python: An interpreter with the build requirements of pyproject.toml.
        env: Added to the environment.
    """
    return subprocess.run(
        [python, "-m", "hatchling", "build", "--directory", str(target), "--target", kind],
        cwd=source,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )


def build(source: Path, target: Path, kind: str, **options: str) -> Path:
    """Build with `hatchling` into an empty folder; return the result."""
    done = hatchling(source, target, kind, **options)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


def unpacked(sdist: Path, folder: Path) -> Path:
    """Unpack a source distribution; return the project's directory."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


@dataclass
class Wheel:
    """A wheel and its contents."""

    path: Path

    @property
    def files(self) -> set[str]:
        with zipfile.ZipFile(self.path) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}

    def text(self, end: str) -> str:
        """Return the single file of the wheel with this suffix."""
        (name,) = [name for name in self.files if name.endswith(end)]
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name).decode()


@dataclass
class Installed:
    """A clean environment with fastroute installed."""

    folder: Path
    name: str

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python{self.name}" / "site-packages"

    def run(self, program: str, *arguments: str) -> str:
        """Run a command of it outside the repository; return its output."""
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def clean_environment(name: str, folder: Path) -> Installed:
    """Create an empty environment with the Python of this name."""
    subprocess.run([PYTHONS[name], "-m", "venv", "--without-pip", folder], check=True)
    return Installed(folder, name)


def pip_install(where: Installed, *arguments: str) -> None:
    """Install into an environment, with this Python's pip."""
    pip = [sys.executable, "-m", "pip", "--python", where.python, "install", "--quiet"]
    done = subprocess.run(
        [*pip, *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def modules_in_use(installed: Installed, folder: Path) -> set[str]:
    """Let an installed router forward a request to a server.

    Args:
        installed: An environment with fastroute and its dependencies.
        folder: Folder for its output.

    Returns:
        The modules of fastroute that its worker has loaded as compiled extensions.
    """
    with standin_process() as server:
        arguments = ("run", "--port", "0", "--server", server.url)
        with running(folder, *arguments, python=installed.python, cwd=folder) as router:
            wait_until(lambda: router.get("/health")["healthy_servers"] == 1)
            asked = urllib.request.Request(router.url + "/v1/chat/completions", BODY, JSON)
            with urllib.request.urlopen(asked, timeout=10) as reply:
                assert json.load(reply)["object"] == "chat.completion"
            (worker,) = router.worker_pids()
            mapped = Path(f"/proc/{worker}/maps").read_text()
            # No dot: the checkout, with its .venv, may itself be a folder called fastroute.
            found = re.findall(r"/(fastroute/[^\s.]+)\.cpython-\S+\.so$", mapped, re.MULTILINE)
            assert router.stop() == 0
    return {path.replace("/", ".") for path in found}
