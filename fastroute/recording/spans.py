"""A record of an ended request as a span, with the names of OpenTelemetry's conventions.

The gen_ai names are those of semantic conventions 1.37 and later ("Development" there):
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans
"""

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from fastroute import __version__
from fastroute.ipc.request_record import RequestRecord, SpanIds
from fastroute.rules.outcome import ENDINGS, Side
from fastroute.server_address import ServerAddress

PROVIDER = "vllm"

# By the end of the path. The conventions name these operations; vLLM's other paths have no name.
OPERATIONS = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/messages": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
_SCOPE = InstrumentationScope("fastroute", __version__)


def resource() -> Resource:
    """Return the spans' resource; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are respected."""
    named = Resource.create({"service.version": __version__})
    if str(named.attributes.get("service.name", "")).startswith("unknown_service"):
        named = named.merge(Resource({"service.name": "fastroute"}))
    return named


def span_of(record: RequestRecord, ids: SpanIds, of: Resource) -> ReadableSpan:
    """Make the span of a request.

    Args:
        record: The request.
        ids: Ids of its trace and spans.
        of: Resource that sends the span.
    """
    error = error_type(record)
    failed = Status(StatusCode.ERROR, record.reason) if error else Status(StatusCode.UNSET)
    start = round(record.started_at * 1e6) * 1000
    return ReadableSpan(
        name=_name(record),
        context=_context(ids.trace, ids.span, is_remote=False),
        parent=_context(ids.trace, ids.parent, is_remote=True) if ids.parent else None,
        resource=of,
        attributes=_attributes(record, error),
        kind=SpanKind.CLIENT,
        status=failed,
        start_time=start,
        end_time=start + round(record.duration * 1e9),
        instrumentation_scope=_SCOPE,
    )


def error_type(record: RequestRecord) -> str | None:
    """Return the error class of a request's ending, or None if the request succeeded.

    The class is `cancelled` (the client disconnected), `broken` (the response was truncated), or
    the status if it is at least 400.
    """
    ending = ENDINGS[record.outcome]
    if ending.by is not Side.CLIENT and record.status is not None and record.status >= 400:
        return str(record.status)
    return ending.span_error


def operation(path: str) -> str | None:
    """Return gen_ai.operation.name of a path, or None if the path has none."""
    return next((name for end, name in OPERATIONS.items() if path.endswith(end)), None)


def _name(record: RequestRecord) -> str:
    method, path = record.method or "", record.path or ""
    what = operation(path)
    if what is None:
        return method  # a path may hold anything, and span names should have low cardinality
    return what if record.model is None else f"{what} {record.model}"


def _attributes(record: RequestRecord, error: str | None) -> dict[str, AttributeValue]:
    path = record.path or ""
    found: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": operation(path),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.model,
        "gen_ai.response.time_to_first_chunk": record.first_byte,
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "http.request.body.size": record.bytes_in,
        "http.response.size": record.bytes_out,
        "url.path": path,
        "client.address": record.client,
        "error.type": error,
        "fastroute.request.id": record.id,
        "fastroute.attempts": record.attempts,
        "fastroute.events": record.events,
        "fastroute.ended_by": record.ended_by,
        "fastroute.outcome": record.outcome.value,
        "fastroute.reason": record.reason,
    }
    if record.server is not None:
        address = ServerAddress.from_url(record.server)
        found["server.address"], found["server.port"] = address.host, address.port
    return {name: value for name, value in found.items() if value is not None}


def _context(trace: str, span: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int(trace, 16), int(span, 16), is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
