"""Batches records of ended requests and sends them to the supervisor.

A worker does not write the access log or spans itself, so a full disk or a failed collector cannot
delay a token. Records that the supervisor cannot take in time are dropped and counted.
"""

from fastroute.ipc.messages import Records
from fastroute.ipc.request_record import RequestRecord
from fastroute.proxy.supervisor_link import SupervisorLink

BATCH = 64
"""Number of records in a message. Encoding them takes 40 us, sending them one system call."""

MAX_BACKLOG_BYTES = 4 << 20
"""Maximum size of the messages that wait to be sent to the supervisor: about 20,000 records."""


class Recorder:
    """The records of one worker that were not sent to the supervisor yet."""

    __slots__ = ("_link", "_lost", "_records")

    def __init__(self, link: SupervisorLink, lost: memoryview) -> None:
        """Start without records.

        Args:
            link: Sends messages to the supervisor.
            lost: Cell that counts dropped records.
        """
        self._link = link
        self._lost = lost
        self._records: list[RequestRecord] = []

    def add(self, record: RequestRecord) -> None:
        """Add a record; it is sent at the next timer tick at the latest."""
        self._records.append(record)
        if len(self._records) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send all records, or drop them if the supervisor is too far behind."""
        records, self._records = self._records, []
        if not records:
            return
        if self._link.backlog() > MAX_BACKLOG_BYTES:
            self._lost[0] += len(records)
        else:
            self._link.report(Records(records))
