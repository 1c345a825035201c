"""CPU time and memory of a process and its descendants, from the kernel's accounting."""

import os
import time
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    found = [pid]
    for one in found:
        found.extend(_children(one))
    return found


def _children(pid: int) -> list[int]:
    children = []
    # A thread's children are listed under that thread. A process may exit meanwhile.
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            children.extend(int(child) for child in (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return children
    return children


def process_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, 0 if it has exited.

    utime + stime of /proc/PID/stat are these same nanoseconds rounded to ticks of 10 ms, which is
    several per cent of a short measurement; therefore the process's CPU clock is read instead.
    Children that have exited and were waited for are only in the stat file (cutime + cstime).
    """
    try:
        own = time.clock_gettime(_cpu_clock(pid))
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ProcessLookupError):
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) * _TICK


def _cpu_clock(pid: int) -> int:
    """Return the clock id of a process's CPU time, like clock_getcpuclockid(3)."""
    return (~pid << 3) | 2


def tree_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and of all its descendants, including exited ones."""
    return sum(process_seconds(one) for one in tree(pid))


def machine_seconds() -> float:
    """Return the CPU seconds of all processes of the machine, and those stolen by its host."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; shared pages count for each."""
    total = 0
    for one in tree(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def proportional_bytes(pid: int) -> int:
    """Return the proportional resident memory of a process; 0 if it has exited."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
