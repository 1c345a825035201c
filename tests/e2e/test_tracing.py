"""Tracing end to end: real workers, a real OTLP receiver, and the headers sent to servers."""

import http.client
import json
import os
import signal
import time
from contextlib import closing

import pytest

from tests.support.collector import attributes, collector
from tests.support.command import RunningCommand, run_command, running, wait_until
from tests.support.standins import standin_process
from tests.support.traffic import traffic

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
MAX_END_SECONDS = 10
"""Two seconds for pending spans, the rest for a busy machine; a drain may take 30."""


@pytest.fixture(name="server", scope="module")
def server_fixture():
    with standin_process("--ttft", "0") as server:
        yield server


def config(folder, url: str, **settings):
    path = folder / "servers.toml"
    rows = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    path.write_text(f'[servers]\nservers = [ {{ url = "{url}" }} ]\n[config]\n{rows}\n')
    return path


def ask(router: RunningCommand, path: str, **fields: str) -> tuple[http.client.HTTPResponse, bytes]:
    body = {"model": "standin", "messages": [{"role": "user", "content": "prompt-secret"}]}
    fields = {"Content-Type": "application/json", "Authorization": "Bearer key-secret", **fields}
    with closing(http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)) as connection:
        connection.request("POST", path, json.dumps({**body, "max_tokens": 2}), fields)
        reply = connection.getresponse()
        return reply, reply.read()


def sent(router: RunningCommand, **fields: str) -> dict[str, str]:
    """Return the headers that reach the server, names in lower case."""
    _, body = ask(router, "/standin/echo", **fields)
    return {name.lower(): value for name, value in json.loads(body)["fields"]}


def test_a_span_between_the_client_s_and_the_server_s(tmp_path, server):
    with collector() as taking:
        path = config(tmp_path, server.url, otlp_endpoint=taking.url)
        with running(tmp_path, *RUN, "--config", str(path), "--workers", "2") as router:
            wait_until(lambda: "has models: standin" in router.stderr())
            echoed = sent(router, traceparent=PARENT, tracestate="a=b")
            query = "/v1/chat/completions?key=query-secret"
            assert ask(router, query, traceparent=PARENT)[0].status == 200
            assert ask(router, "/v1/embeddings?key=query-secret")[0].status in (200, 400, 404)
            wait_until(lambda: len(taking.spans) == 3)
            router.get("/livez")
        assert len(taking.spans) == 3, "of fastroute's own endpoints there is none"
    by_path = {attributes(span)["url.path"]: span for span in taking.spans}
    echo, chat = by_path["/standin/echo"], by_path["/v1/chat/completions"]
    assert echoed["traceparent"] == f"00-{TRACE}-{echo.span_id.hex()}-01"
    assert echoed["tracestate"] == "a=b"
    for span in (echo, chat):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 20e9
        assert abs(span.start_time_unix_nano / 1e9 - time.time()) < 120
    assert chat.name == "chat standin"
    assert attributes(chat)["server.port"] == server.port
    own = by_path["/v1/embeddings"]
    assert own.parent_span_id == b""
    assert own.trace_id.hex() != TRACE
    told = repr(taking.spans) + repr(taking.resources) + router.stderr()
    assert "secret" not in told


def test_switched_off_both_fields_pass_unchanged(tmp_path, server):
    path = config(tmp_path, server.url)
    with running(tmp_path, *RUN, "--config", str(path)) as router:
        echoed = sent(router, traceparent=PARENT, tracestate="a=b,c=d")
        assert (echoed["traceparent"], echoed["tracestate"]) == (PARENT, "a=b,c=d")
        assert "traceparent" not in sent(router)


def test_a_dead_collector_costs_only_spans(tmp_path, server):
    path = config(tmp_path, server.url, otlp_endpoint="http://127.0.0.1:9")
    with running(tmp_path, *RUN, "--config", str(path)) as router:
        with traffic(router.port) as clients:
            wait_until(lambda: clients.good > 100, 30)
        assert not clients.bad
        line = "the collector at http://127.0.0.1:9/v1/traces accepts no spans; they are dropped"
        wait_until(lambda: line in router.stderr(), 20)
        began = time.monotonic()
        router.signal(signal.SIGTERM)
        assert router.wait() == 0
        assert time.monotonic() - began < MAX_END_SECONDS
    assert router.stderr().count("accepts no spans") == 1
    assert "Traceback" not in router.stderr()


def test_without_the_extra(tmp_path):
    """Tracing is then rejected at the start, with the remedy; a fake package shadows ours."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    path = config(tmp_path, "http://127.0.0.1:9", otlp_endpoint="http://collector:4318")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), os.getcwd()))}
    done = run_command(*RUN, "--config", str(path), env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fastroute: otlp_endpoint needs an optional dependency: pip install 'fastroute[otel]'\n"
    )
    config(tmp_path, "http://127.0.0.1:9")
    with running(tmp_path, *RUN, "--config", str(path), env=env) as router:
        assert router.get("/livez")["status"] == "alive"
