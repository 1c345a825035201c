"""Collects what is to be told of ended requests, and hands it to the supervisor, many at once.

The worker itself writes no file and asks no collector, so neither a full disk nor a dead collector
can hold up a token. What the supervisor cannot take in time is dropped and counted.
"""

from fastroute.ipc.messages import Records
from fastroute.ipc.request_record import RequestRecord
from fastroute.proxy.supervisor_link import SupervisorLink

BATCH = 64
"""Records in a message. Encoding as many takes 40 us, and sending them one system call."""

MAX_BACKLOG_BYTES = 4 << 20
"""Some 20,000 records, that may wait on their way to the supervisor."""


class Recorder:
    """The ended requests of one worker that the supervisor was not told of yet."""

    __slots__ = ("_link", "_lost", "_records")

    def __init__(self, link: SupervisorLink, lost: memoryview) -> None:
        """Begin with none.

        Args:
            link: Leads to the supervisor.
            lost: The cell that counts what was dropped.
        """
        self._link = link
        self._lost = lost
        self._records: list[RequestRecord] = []

    def add(self, record: RequestRecord) -> None:
        """Take a record; it is on its way with the next sweep at the latest."""
        self._records.append(record)
        if len(self._records) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        records, self._records = self._records, []
        if not records:
            return
        if self._link.backlog() > MAX_BACKLOG_BYTES:
            self._lost[0] += len(records)
        else:
            self._link.report(Records(records))
