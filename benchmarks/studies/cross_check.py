"""Cross-check of the saturated JSON load with wrk, an independent load generator."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.comparison import cpu, traffic
from benchmarks.comparison.stage import Target

CONNECTIONS = 64
_SECONDS_TO_END = 20
_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)")
_WRONG = re.compile(r"(Non-2xx or 3xx responses|Socket errors): (.+)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SCRIPT = """\
wrk.method = "POST"
wrk.path = "{path}"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-benchmark-0123456789abcdef"
wrk.body = [==[{body}]==]
"""


class Check(msgspec.Struct, frozen=True):
    """Result of wrk: requests per second, and CPU seconds of the proxy per request."""

    requests_per_second: float
    cpu_seconds: float
    wrong: str = ""
    """Errors reported by wrk; empty if there were none."""


def read(output: str, cpu_seconds: float) -> Check:
    """Read wrk's report.

    Args:
        output: Output of wrk.
        cpu_seconds: CPU time of the proxy meanwhile.

    Raises:
        ValueError: It is not such a report, or there were no responses.
    """
    found = _REQUESTS.search(output)
    if found is None or not int(found[1]):
        raise ValueError("wrk got no responses")
    requests, seconds = int(found[1]), float(found[2]) * _UNIT[found[3]]
    wrong = "; ".join(f"{what}: {how}" for what, how in _WRONG.findall(output))
    return Check(requests / seconds, cpu_seconds / requests, wrong)


def run(
    targets: Sequence[Target], directory: Path, seconds: float, cores: set[int]
) -> dict[str, Check]:
    """Run wrk against each proxy for some seconds; return nothing if wrk is not installed."""
    if shutil.which("wrk") is None:
        print("wrk is not installed (apt-get install wrk): no cross-check", file=sys.stderr)
        return {}
    script = directory / "chat.lua"
    body = traffic.chat_request(1024).decode()
    script.write_text(_SCRIPT.format(path=traffic.CHAT_PATH, body=body))
    checks = {}
    for target in targets:
        if target.name not in target.watched:
            continue  # The stand-in servers themselves have four ports, but wrk uses only one.
        try:
            checks[target.name] = check = _ask(target, script, seconds, cores)
        except (ValueError, subprocess.SubprocessError) as error:
            print(f"wrk at {target.name}: {error}", file=sys.stderr)
            continue
        print(
            f"wrk {target.name:18} {check.cpu_seconds * 1e6:6.1f} us, "
            f"{check.requests_per_second:9,.0f}/s {check.wrong}",
            file=sys.stderr,
        )
    return checks


def _ask(target: Target, script: Path, seconds: float, cores: set[int]) -> Check:
    command = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), "wrk"]
    load = ["--threads", "1", "--connections", str(CONNECTIONS)]
    length = ["--duration", f"{max(1, round(seconds))}s", "--script", str(script)]
    pid = target.watched[target.name]
    before = cpu.tree_seconds(pid)
    done = subprocess.run(
        [*command, *load, *length, f"http://127.0.0.1:{target.ports[0]}"],
        capture_output=True,
        text=True,
        timeout=seconds + _SECONDS_TO_END,
        check=True,
    )
    return read(done.stdout, cpu.tree_seconds(pid) - before)
