"""Sends spans to a collector from a thread of its own; a dead collector costs only spans."""

import logging
import threading
from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from fastroute.ipc.request_record import RequestRecord
from fastroute.recording.backlog import Backlog
from fastroute.recording.spans import resource, span_of

TRACES_PATH = "/v1/traces"
BACKLOG = 8192
BATCH = 512
GATHER_S = 0.5
"""Seconds in which spans gather before they are sent together."""
TIMEOUT_S = 5.0
"""Seconds that a collector has for a batch, all of the exporter's own tries taken together."""

LAST_S = 0.2
"""Seconds that a try has to end in which is told that it is the last."""

log = logging.getLogger("tracing")


class SpanExporter:
    """The spans on their way to one collector."""

    def __init__(self, endpoint: str, backlog: int = BACKLOG) -> None:
        """Begin to send.

        Args:
            endpoint: The collector's URL, with or without `/v1/traces`.
            backlog: How many spans may wait.
        """
        self._endpoint = traces_url(endpoint)
        self._exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=TIMEOUT_S)
        # It says of each try what we say once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = resource()
        self._backlog = Backlog(backlog)
        self._in_hand = 0
        self._has_complained = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many spans the collector did not get."""
        return self._backlog.lost

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Have spans sent soon of those records that have a place in a trace; never waits."""
        self._backlog.put(record for record in records if record.span is not None)

    def close(self, seconds: float) -> None:
        """Send what waits, for at most so long; what is left then is lost."""
        self._backlog.end()
        # One that takes no spans will take these no more than those before.
        self._thread.join(0 if self._has_complained else seconds)
        if self._thread.is_alive():
            # Ends its waiting for the next try.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            self._thread.join(LAST_S)
        in_hand = self._in_hand if self._thread.is_alive() else 0
        self._backlog.give_up(len(self._backlog) + in_hand)

    def _run(self) -> None:
        while records := self._backlog.take(BATCH):
            self._in_hand = len(records)
            if self._export(records):
                self._note_success()
            else:
                self._backlog.give_up(len(records))
                self._note_failure()
            if len(self._backlog) < BATCH:
                self._backlog.pause(GATHER_S)

    def _export(self, records: list[RequestRecord]) -> bool:
        spans = [span_of(r, r.span, self._resource) for r in records if r.span is not None]
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            # It raises what requests raises for a URL it does not like, and more.
            log.debug("export failed", exc_info=True)
            return False

    def _note_failure(self) -> None:
        if not self._has_complained:
            self._has_complained = True
            log.warning("the collector at %s takes no spans; they are dropped", self._endpoint)

    def _note_success(self) -> None:
        if self._has_complained:
            self._has_complained = False
            log.info(
                "the collector at %s takes spans again; dropped so far: %d",
                *(self._endpoint, self._backlog.lost),
            )


def traces_url(endpoint: str) -> str:
    """Return where spans are posted, as OTLP/HTTP has it below a collector's base URL."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH
