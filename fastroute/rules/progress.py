"""Whether a server makes progress: by its own counters, and by the bytes it sends us.

Alive is not well: a hung engine still answers /health and /metrics, with frozen numbers.
Busy is not dead: a server that is slow to answer /health may be sending tokens all the time.
"""

from fastroute.rules.load import LoadReport


class Progress:
    """What moved at one server, and when. Times in seconds of any one clock."""

    __slots__ = ("_counters", "_delivered_at", "_events", "_moved_at")

    def __init__(self, now: float, events: int) -> None:
        """Begin to watch.

        Args:
            now: When.
            events: Segments of replies that were relayed so far.
        """
        self._events = events
        self._counters: tuple[int | None, int | None] | None = None
        self._delivered_at: float | None = None
        self._moved_at = now

    def note_events(self, events: int, now: float) -> None:
        """Take the number of segments relayed so far."""
        if events != self._events:
            self._events = events
            self._delivered_at = self._moved_at = now

    def note_report(self, report: LoadReport, own_in_flight: int, now: float) -> bool:
        """Take what its metrics say; return whether it moved or has nothing to do.

        Prompt tokens count too: a server of embeddings makes no others. So do our own requests:
        an engine that hung while idle will not have counted them, its numbers are frozen.
        """
        counters = (report.generation_tokens, report.prompt_tokens)
        # Without counters nothing can be said against it.
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
        """Whether it sent bytes of replies in the last `within` seconds."""
        return self._delivered_at is not None and now - self._delivered_at <= within

    def has_stalled(self, timeout: float, now: float) -> bool:
        """Whether nothing has moved for `timeout` seconds; never if that is 0."""
        return 0 < timeout <= now - self._moved_at
