"""Number of CPUs that this process may use: by its affinity, and by the CPU quota of its cgroups.

In a container the affinity has all cores of the machine, and the quota says how much of their time
it gets. With more workers than that the kernel stops all of them for parts of each period.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

_MEMBERSHIP = "proc/self/cgroup"
_MOUNT = "sys/fs/cgroup"
_V1_FOLDERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
"""Names under which the CPU controller of cgroup v1 may be mounted."""


class Cpus(msgspec.Struct, frozen=True):
    """CPUs that this process may use.

    Attributes:
        affinity: Number of CPUs that it may run on.
        quota: CPU time that its cgroups get, in CPUs; None without a limit.
    """

    affinity: int
    quota: float | None = None

    @property
    def count(self) -> int:
        """Number of workers that have a CPU each, at least 1."""
        if self.quota is None:
            return self.affinity
        return max(1, min(self.affinity, int(self.quota)))

    def __str__(self) -> str:
        quota = "no CPU quota" if self.quota is None else f"a CPU quota of {self.quota:g}"
        return f"{self.affinity} usable CPUs, {quota}"


def usable_cpus(root: Path = Path("/")) -> Cpus:
    """Return the CPUs that this process may use now.

    Args:
        root: Folder that stands for the root of the file system.
    """
    quotas = list(_quotas(root))
    return Cpus(len(os.sched_getaffinity(0)), min(quotas) if quotas else None)


def _quotas(root: Path) -> Iterator[float]:
    """Return the limits of all cgroups of this process: each applies to those below it, too."""
    mount = root / _MOUNT
    for line in _read(root / _MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders = [mount]
        elif "cpu" in controllers.split(","):
            folders = [mount / name for name in _V1_FOLDERS]
        else:
            continue
        for folder in folders:
            for group in _with_parents(folder, path):
                yield from _quota_in(group)


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    # In a container whose cgroups are not its own, `path` may lead outside of what is mounted.
    group = mount
    yield group
    for name in path.split("/"):
        if name and name != "..":
            group /= name
            yield group


def _quota_in(group: Path) -> Iterator[float]:
    words = _read(group / "cpu.max").split()  # cgroup v2: quota, or `max`, and period
    if not words:
        words = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])  # cgroup v1 says -1 for no limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
