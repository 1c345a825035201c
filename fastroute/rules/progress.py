"""Progress of a server, detected from its counters and from the bytes that it sends.

Health checks are not sufficient: a hung engine still responds to /health and /metrics, but its
counters do not change; and a busy server may respond slowly to /health while it sends tokens.
"""

from fastroute.rules.load import LoadReport


class Progress:
    """Times of the last progress of one server, in seconds of a monotonic clock."""

    __slots__ = ("_counters", "_delivered_at", "_events", "_moved_at")

    def __init__(self, now: float, events: int) -> None:
        """Start to watch.

        Args:
            now: Current time.
            events: Number of segments of responses that were forwarded so far.
        """
        self._events = events
        self._counters: tuple[int | None, int | None] | None = None
        self._delivered_at: float | None = None
        self._moved_at = now

    def note_events(self, events: int, now: float) -> None:
        """Take the number of segments that were forwarded so far."""
        if events != self._events:
            self._events = events
            self._delivered_at = self._moved_at = now

    def note_report(self, report: LoadReport, own_in_flight: int, now: float) -> bool:
        """Take a report; return True if the server made progress or is idle.

        Prompt tokens count, too, because a server of embeddings generates no others. Our own
        requests count as work, because an engine that hung while idle does not report them.
        """
        counters = (report.generation_tokens, report.prompt_tokens)
        # A server without counters cannot be checked.
        moved = (
            report.running + report.waiting + own_in_flight == 0
            or counters != self._counters
            or counters == (None, None)
        )
        self._counters = counters
        if moved:
            self._moved_at = now
        return moved

    def has_delivered(self, within: float, now: float) -> bool:
        """Return True if it sent bytes of responses in the last `within` seconds."""
        return self._delivered_at is not None and now - self._delivered_at <= within

    def has_stalled(self, timeout: float, now: float) -> bool:
        """Return True if it made no progress for `timeout` seconds; never if that is 0."""
        return 0 < timeout <= now - self._moved_at
