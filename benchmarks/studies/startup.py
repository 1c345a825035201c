"""Time from a proxy's start to its first response, and its memory while idle."""

import http.client
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.comparison import cpu, processes, traffic
from benchmarks.comparison.peers import Peer
from benchmarks.comparison.stage import Stage, Target

_SECONDS_TO_START = 20.0
_SECONDS_IDLE = 2.5


class Start(msgspec.Struct, frozen=True):
    """One start. Resident memory counts shared pages for each process, proportional once."""

    seconds_to_answer: float
    resident_bytes: int
    proportional_bytes: int


def run(stage: Stage, peers: Sequence[Peer], times: int) -> dict[str, list[Start]]:
    """Start each peer in turn, several times; failed starts have no result."""
    results: dict[str, list[Start]] = {peer.name: [] for peer in peers}
    with stage.servers() as servers:
        for number in range(1, times + 1):
            for peer in peers:
                try:
                    start = _start(stage, peer, servers)
                except processes.StartFailed as error:
                    print(error, file=sys.stderr)
                    continue
                results[peer.name].append(start)
                print(
                    f"{number}/{times} start {peer.name:18} {start.seconds_to_answer:.2f} s, "
                    f"{start.resident_bytes / 1e6:.0f} MB idle",
                    file=sys.stderr,
                )
    return results


def _start(stage: Stage, peer: Peer, servers: Target) -> Start:
    own = stage.own_directory(peer.name)
    place = stage.place(servers, own)
    command = peer.command(place)
    log = own / "output.log"
    begun = time.monotonic()
    with processes.running(
        command, log, stage.cores.proxy, environ=peer.environ, directory=own
    ) as process:
        _wait_for_chat(place.port, log)
        seconds = time.monotonic() - begun
        time.sleep(_SECONDS_IDLE)
        pids = cpu.tree(process.pid)
        return Start(
            seconds, cpu.resident_bytes(process.pid), sum(map(cpu.proportional_bytes, pids))
        )


def _wait_for_chat(port: int, log: Path) -> None:
    """Retry until a chat request gets the correct response."""
    body = traffic.chat_request(1024)
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", traffic.CHAT_PATH, body, headers)
            reply = connection.getresponse()
            if reply.status == 200 and reply.read() == traffic.chat_reply():
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.002)
    tail = log.read_text(errors="replace")[-2000:]
    raise processes.StartFailed(f"no response within {_SECONDS_TO_START:g} s:\n{tail}")
