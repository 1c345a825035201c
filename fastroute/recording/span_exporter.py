"""Export of spans to a collector in a separate thread; if that fails, spans are dropped."""

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
"""Seconds to wait for more spans before they are sent together."""
TIMEOUT_S = 5.0
"""Timeout of a batch in seconds, including the exporter's own retries."""

LAST_S = 0.2
"""Seconds for the attempt in progress to end after the exporter was shut down."""

log = logging.getLogger("tracing")


class SpanExporter:
    """Exporter of spans to one collector."""

    def __init__(self, endpoint: str, backlog: int = BACKLOG) -> None:
        """Start the thread.

        Args:
            endpoint: The collector's URL, with or without `/v1/traces`.
            backlog: Maximum number of spans that wait to be sent.
        """
        self._endpoint = traces_url(endpoint)
        self._exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=TIMEOUT_S)
        # The library logs every attempt; we log a failure once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._resource = resource()
        self._backlog = Backlog(backlog)
        self._sending = 0
        self._has_logged_failure = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Number of spans that the collector did not accept."""
        return self._backlog.lost

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Queue a span for each record that belongs to a trace; never wait."""
        self._backlog.put(record for record in records if record.span is not None)

    def close(self, seconds: float) -> None:
        """Send the waiting spans within `seconds`; those that remain are lost."""
        self._backlog.end()
        # A collector that failed before would not accept these spans either.
        self._thread.join(0 if self._has_logged_failure else seconds)
        if self._thread.is_alive():
            # Ends the wait before the library's next attempt.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            self._thread.join(LAST_S)
        sending = self._sending if self._thread.is_alive() else 0
        self._backlog.give_up(len(self._backlog) + sending)

    def _run(self) -> None:
        while records := self._backlog.take(BATCH):
            self._sending = len(records)
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
            # The library documents no exceptions; `requests`, for one, rejects some URLs.
            log.debug("export failed", exc_info=True)
            return False

    def _note_failure(self) -> None:
        if not self._has_logged_failure:
            self._has_logged_failure = True
            log.warning("the collector at %s accepts no spans; they are dropped", self._endpoint)

    def _note_success(self) -> None:
        if self._has_logged_failure:
            self._has_logged_failure = False
            log.info(
                "the collector at %s accepts spans again; dropped so far: %d",
                *(self._endpoint, self._backlog.lost),
            )


def traces_url(endpoint: str) -> str:
    """Return the URL for spans, which OTLP/HTTP derives from the collector's base URL."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH
