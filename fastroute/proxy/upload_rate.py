"""The rate at which the body of a request arrives."""


class UploadRate:
    """Checks the rate in windows as long as `client_body_timeout`, one after another.

    A total time would have to allow for the largest body, and so for hours of a byte a second.
    """

    __slots__ = ("_due", "_received")

    def __init__(self) -> None:
        self._due = 0.0
        self._received = 0

    def restart(self) -> None:
        """Start with another body, or after a pause that the client did not cause."""
        self._due = 0.0

    def is_too_low(self, received: int, now: float, window_s: float, min_rate: float) -> bool:
        """Return True if a window ended in which less arrived than allowed, until that has come.

        Args:
            received: Size of the body so far, in bytes.
            now: Time in seconds.
            window_s: Length of a window in seconds.
            min_rate: Allowed rate in bytes per second.
        """
        # A smaller size than before is that of the next body.
        is_same = self._due > 0 and received >= self._received
        if is_same and now < self._due:
            return False
        if is_same and received - self._received < min_rate * window_s:
            return True
        self._due = now + window_s
        self._received = received
        return False
