"""The activity of a process, read from /proc."""

import os
from pathlib import Path

from fastroute.rules.liveness import Activity

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# proc_pid_stat(5), counted from the state, which follows the name in parentheses.
_UTIME, _STIME = 11, 12


def activity_of(pid: int) -> Activity:
    """Return the activity of a process; one that cannot be read counts as idle."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("latin-1")
        state, *rest = text.rpartition(")")[2].split()
        ticks = int(rest[_UTIME - 1]) + int(rest[_STIME - 1])
    except (OSError, ValueError, IndexError):
        return Activity()
    return Activity(cpu_s=ticks / _TICKS_PER_S, state=state)
