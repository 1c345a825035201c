"""Podman, with separate images and containers in build/, and a base image from debootstrap.

It needs no daemon and no image registry: Debian 13 has the Dockerfile's version of Python.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "image"
PROGRAMS = ("podman", "runc", "debootstrap", "nsenter")
BASE = os.environ.get("PYTHON_IMAGE", "")
DEBIAN, PACKAGES = "trixie", "python3,python3-venv,libpython3-dev,ca-certificates"
OWN_BASE = "localhost/fastroute-base"
IMAGE = "localhost/fastroute-under-test"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PIP_SETTINGS = f"[global]\ncert = {CERTIFICATES}\n"
"""Packages may come through a proxy whose certificate only this machine knows."""
LITTLE = (
    *("--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)
"""The minimum according to docs/deployment.md."""


def missing() -> list[str]:
    """Return the requirements that this machine does not meet."""
    lacks = [name for name in PROGRAMS if shutil.which(name) is None]
    return lacks + (["root"] if os.geteuid() else [])


def podman(*arguments: str, code: int | None = 0) -> str:
    """Run podman and return its stdout. With `code` None, any exit code is accepted."""
    done = subprocess.run(
        [
            *("podman", "--root", str(FOLDER / "store"), "--runroot", str(FOLDER / "run")),
            *("--cgroup-manager", "cgroupfs", "--runtime", "runc"),
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert code in (None, done.returncode), done.stderr[-4000:]
    return done.stdout


def limits() -> list[str]:
    """Keep the current limit, because root in a container may not raise it."""
    found = []
    for name, wanted in (("nofile", 65536), ("nproc", 4096)):
        most = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        number = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
        found += ["--ulimit", f"{name}={number}:{number}"]
    return found


def build_base() -> str:
    """Create an image of Debian with Python, once; return its name."""
    if podman("images", "--quiet", OWN_BASE).strip():
        return OWN_BASE
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        tree = Path(folder, "tree")
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, tree],
            check=True,
            capture_output=True,
        )
        archive = Path(folder, "tree.tar")
        subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
        podman("import", str(archive), OWN_BASE)
    return OWN_BASE


def build_image() -> None:
    """Build the unchanged Dockerfile."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    settings = FOLDER / "pip.conf"
    settings.write_text(PIP_SETTINGS)
    podman(
        *("build", "--format", "docker", "--isolation", "chroot", "--network", "host"),
        *limits(),
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"),
        *("--volume", f"{settings}:/etc/pip.conf:ro"),
        *("--build-arg", f"PYTHON_IMAGE={BASE or build_base()}", "--tag", IMAGE, "."),
    )


@dataclass
class Container:
    """A running one. Its network has nothing but a loopback interface.

    Attributes:
        name: Its name in podman.
        pid: Process id of its first process on the host.
    """

    name: str
    pid: int

    def inside(self, *command: str, **options) -> subprocess.Popen:
        """Start a program of this machine in the container's network."""
        return subprocess.Popen(["nsenter", "--net", f"--target={self.pid}", *command], **options)

    def health(self) -> bool:
        """Run the image's health check."""
        return "unhealthy" not in podman("healthcheck", "run", self.name, code=None)

    def log(self) -> str:
        return podman("logs", self.name)

    def state(self) -> dict:
        return json.loads(podman("inspect", self.name))[0]["State"]


@contextmanager
def container(folder: Path, *options: str) -> Iterator[Container]:
    """Run the image with `folder` as its configuration; remove it at the end."""
    mount = ("--volume", f"{folder}:/app:ro")
    name = podman("run", "--detach", *LITTLE, *limits(), *mount, *options, IMAGE).strip()
    try:
        made = Container(name, 0)
        made.pid = made.state()["Pid"]
        yield made
    finally:
        podman("rm", "--force", "--time", "0", name)
