"""A small OpenTelemetry collector: receives OTLP over HTTP, and decodes it."""

import contextlib
import http.server
import threading
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Received exports.

    Attributes:
        url: Its base URL, in the users' form.
        spans: All spans, oldest first.
        resources: Attributes of each export's resource.
        scopes: Names of the instrumentation that made them.
        headers: Headers of each export, names in lower case.
        status: Status of responses to exports from now on.
        held: While it is not set, exports get no response.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.resources: list[dict] = []
        self.scopes: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.held = threading.Event()
        self.held.set()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        assert headers["content-type"] == "application/x-protobuf"
        self.headers.append(headers)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(of_resource.resource))
            for of_scope in of_resource.scope_spans:
                self.scopes.append(of_scope.scope.name)
                self.spans += of_scope.spans


def value(of: AnyValue) -> object:
    return getattr(of, of.WhichOneof("value"))


def attributes(of: object) -> dict:
    """Return the attributes of a span or a resource."""
    return {each.key: value(each.value) for each in of.attributes}


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a separate port."""
    made = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.held.wait(10)
            if made.status == 200:
                fields = {name.lower(): text for name, text in self.headers.items()}
                made.take(self.path, fields, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(ConnectionError):  # the client may have disconnected
                self.send_response(made.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Suppress the log."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.held.set()
        server.shutdown()
        thread.join()
        server.server_close()
