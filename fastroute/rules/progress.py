"""Progress of servers: by their own counters, and by the bytes that they send us.

A hung engine still answers /health and /metrics, with numbers that stand still. A server that is
slow to answer /health may be sending tokens all the time.

Only our own requests that wait for the server show that it is stuck. The gauges of other clients'
requests may stand still for ever (seen after mass aborts), and a client that does not read stops
its stream by itself.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from fastroute.rules.load import LoadReport

S = TypeVar("S", bound=Hashable)


class Progress:
    """Movement of one server, and its time. Times in seconds of any one clock."""

    __slots__ = ("_counters", "_delivered_at", "_events", "_free_at", "_moved_at", "_reported_at",
                 "is_busy")  # fmt: skip

    def __init__(self, now: float, events: int) -> None:
        """Begin to watch.

        Args:
            now: The time.
            events: Segments of responses that were relayed so far.
        """
        self._events = events
        self._counters: tuple[int | None, int | None] | None = None
        self._delivered_at: float | None = None
        self._moved_at: float | None = None
        self._free_at = now  # when it had nothing to do for us, or a new chance
        self._reported_at = now
        self.is_busy = False
        """True if requests of ours waited for it at the last report."""

    def note_events(self, events: int, now: float) -> None:
        """Take the number of segments relayed so far."""
        if events != self._events:
            self._events = events
            self._delivered_at = self._moved_at = now

    def note_report(self, report: LoadReport, own_waiting: int, now: float) -> bool:
        """Take a report of its metrics.

        Prompt tokens count too: a server of embeddings makes no others.

        Args:
            report: Its metrics.
            own_waiting: Number of requests of ours that wait for it.
            now: Time of the report.

        Returns:
            True if its counters moved since the last report.
        """
        counters = (report.generation_tokens, report.prompt_tokens)
        moved = self._counters is not None and counters != self._counters
        is_first = self._counters is None
        self._counters = counters
        self._reported_at = now
        self.is_busy = own_waiting > 0
        if moved:
            self._moved_at = now
        if is_first or not self.is_busy or counters == (None, None):
            # Without counters nothing can be said against it.
            self._free_at = now
        return moved

    def restart(self, now: float) -> None:
        """Begin again: it is on trial, and gets the whole time once more."""
        self._free_at = now

    def has_delivered(self, within: float, now: float) -> bool:
        """Return True if it sent bytes of responses in the last `within` seconds."""
        return self._delivered_at is not None and now - self._delivered_at <= within

    def has_moved(self, within: float, now: float) -> bool:
        """Return True if a counter or a byte of a response moved in the last `within` seconds."""
        return self._moved_at is not None and now - self._moved_at <= within

    def stands_still(self, timeout: float) -> bool:
        """Return True if requests of ours waited and nothing moved for `timeout` seconds.

        It ends with the last report: where none comes, nothing is known of the counters.

        Args:
            timeout: Seconds; 0 for never.
        """
        since = max(self._free_at, self._moved_at or self._free_at)
        return self.is_busy and 0 < timeout <= self._reported_at - since


def stalled(
    servers: Mapping[S, Progress], models: Mapping[str, Sequence[S]], timeout: float, now: float
) -> list[S]:
    """Return the servers that make no progress, although the requests are not the reason.

    Where all servers of the model that have requests stand still, the requests are: a long prefill,
    for example. So another server of one of its models must have moved within the time, or none of
    them has work.

    Args:
        servers: The progress of each server.
        models: Servers by model.
        timeout: `stall_timeout`, seconds; 0 for never.
        now: The time.
    """
    still = [server for server, progress in servers.items() if progress.stands_still(timeout)]
    return [
        server for server in still if _compares_badly(_peers(server, servers, models), timeout, now)
    ]


def _peers(
    server: S, servers: Mapping[S, Progress], models: Mapping[str, Sequence[S]]
) -> list[Progress]:
    """Return the progress of the other servers of its models."""
    others = {each for having in models.values() if server in having for each in having}
    return [servers[each] for each in others - {server} if each in servers]


def _compares_badly(peers: Sequence[Progress], timeout: float, now: float) -> bool:
    works = any(peer.has_moved(timeout, now) for peer in peers)
    return works or not any(peer.is_busy for peer in peers)
