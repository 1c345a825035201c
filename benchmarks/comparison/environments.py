"""Installation of the proxies: Debian packages, and separate virtual environments in .bench/.

Everything is installed once and kept; `rm -r .bench` removes it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
RUNTIME_LOCK = ROOT / "deploy" / "image" / "requirements.lock"
# Files that do not affect a wheel; hidden files, too.
_NO_SOURCE = re.compile(
    r"\.|__pycache__$|.*\.(pyc|so)$|(benchmarks|build|deploy|dist|docs|tests)$|requirements.*"
)
# A fastroute of the interpreter only, where the wheel would have compiled modules.
_PURE = {"FASTROUTE_PURE": "1"}
_INSTALL_SECONDS = 900
DESCRIBE_FASTROUTE = (
    "import fastroute, fastroute.proxy.exchange as m; "
    "kind = 'pure Python' if m.__file__.endswith('.py') else 'compiled'; "
    "print('fastroute', fastroute.__version__, kind)"
)


class InstallFailed(Exception):
    """A proxy is missing and cannot be installed; the message gives the reason and a remedy."""


def program(environment: str, name: str) -> Path:
    """Return the path of a program in one of the environments, existing or not."""
    return CACHE / environment / "bin" / name


def describe(package: str) -> tuple[str, ...]:
    """Return a command that prints name and version of the package in an environment."""
    code = f"from importlib.metadata import version; print('{package}', version('{package}'))"
    return (str(program(package, "python")), "-c", code)


def debian(package: str) -> Callable[[], None]:
    """Return a function that installs a Debian package if its program is missing."""

    def install() -> None:
        if shutil.which(package):
            return
        if os.geteuid() != 0:
            raise InstallFailed(f"{package} is missing; as root: apt-get install {package}")
        _run(["apt-get", "install", "--yes", "--no-install-recommends", package])

    return install


def install_if_allowed(package: str) -> None:
    """Install an optional Debian package."""
    try:
        debian(package)()
    except InstallFailed as error:
        print(error, file=sys.stderr)


def pypi(environment: str, requirement: str) -> Callable[[], None]:
    """Return a function that creates an environment with one requirement from PyPI."""

    def install() -> None:
        _make(environment, requirement, [["install", "--only-binary", ":all:", requirement]])

    return install


def wheel(environment: str, *, pure: bool) -> Callable[[], None]:
    """Return a function that builds and installs fastroute's wheel if its sources have changed."""

    def install() -> None:
        built = CACHE / "wheels" / environment
        _make(
            environment,
            sources_digest(),
            [["install", "--require-hashes", "--requirement", str(RUNTIME_LOCK)]],
            lambda: [["install", "--no-deps", _built_wheel(built, pure=pure)]],
        )

    return install


def sources() -> list[Path]:
    """Return the files of this checkout that may affect a wheel, relative to it."""
    found = []
    for directory, names, files in os.walk(ROOT):
        names[:] = sorted(name for name in names if not _NO_SOURCE.match(name))
        found += [Path(directory, file) for file in files if not _NO_SOURCE.match(file)]
    return sorted(path.relative_to(ROOT) for path in found)


def sources_digest() -> str:
    """Return a digest of all files that affect a wheel of this checkout, except texts."""
    digest = hashlib.sha256()
    for path in sources():
        if path.suffix == ".md":
            continue  # A published run changes the README, which would otherwise rebuild the wheel.
        digest.update(f"{path}\0".encode() + (ROOT / path).read_bytes() + b"\0")
    return digest.hexdigest()


def _make(
    environment: str,
    wanted: str,
    steps: list[list[str]],
    more_steps: Callable[[], list[list[str]]] = list,
) -> None:
    """Create an environment, unless a complete one with the same contents exists.

    Args:
        environment: Its name.
        wanted: Its contents, as a text to compare.
        steps: Arguments of its pip, one list per call.
        more_steps: Returns further steps, after these have been done.
    """
    directory = CACHE / environment
    finished = directory / "made-of.txt"
    made_of = f"{sys.version}\n{wanted}\n"
    if finished.exists() and finished.read_text() == made_of:
        return
    print(f"installing {environment} into {directory.relative_to(ROOT)}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(directory)])
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for step in steps:
        _run([*pip, *step])
    for step in more_steps():
        _run([*pip, *step])
    finished.write_text(made_of)


def _built_wheel(directory: Path, *, pure: bool) -> str:
    """Build the wheel of this checkout like a release, with the tools of this Python.

    It is built from a copy, so that a compiler's output next to the sources is not included.
    """
    shutil.rmtree(directory, ignore_errors=True)
    for path in sources():
        copy = directory / "source" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    where = ["--wheel-dir", str(directory), str(directory / "source")]
    _run([*command, "--no-deps", "--no-build-isolation", *where], _PURE if pure else {})
    (built,) = directory.glob("*.whl")
    return str(built)


def _run(command: list[str], environ: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            env=os.environ | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        raise InstallFailed(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
