"""DNS names are resolved while the router runs: by the system's resolver, to real servers."""

import asyncio
import contextlib
import http.server
import json
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
import trustme

from tests.support.command import RunningCommand, running, wait_until
from tests.support.config_file import write_config
from tests.support.dns import Mood, dns_server, python_that_asks
from tests.support.standins import StandInProcess, standin_process
from tests.support.streams import Stream, chat

NAME = "vllm.test"
FIRST, SECOND = "127.0.0.2", "127.0.0.3"
RUN = ("run", "--host", "127.0.0.1", "--port", "0")
OFTEN = {"dns_interval": 0.1, "dns_hold": 0.5}


@pytest.fixture(name="dns")
def dns_fixture():
    with dns_server() as server:
        yield server


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return tmp_path / "servers.toml"


@pytest.fixture(name="start")
def start_fixture(dns, tmp_path, path):
    """Run a router with the file, which must exist."""

    def start(*options: str, timeout: int = 1, **more):
        python = python_that_asks(dns, tmp_path, timeout=timeout)
        return running(tmp_path, *RUN, "--config", str(path), *options, python=python, **more)

    return start


@contextlib.contextmanager
def two_standins(*options: str):
    """Run servers at two addresses and one port, like the pods of a Service."""
    with standin_process("--host", FIRST, *options) as first:
        port = ("--port", str(first.port))
        with standin_process("--host", SECOND, *port, *options) as second:
            yield first, second


def name_url(server: StandInProcess) -> str:
    return f"http+dns://{NAME}:{server.port}"


def status(router: RunningCommand, path: str) -> int:
    try:
        with urllib.request.urlopen(router.url + path, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def warning(router: RunningCommand) -> str | None:
    name, *_ = router.get("/load-stats")["summary"]["dns_names"]
    return name["warning"]


def ask(router: RunningCommand) -> None:
    with router.connect() as client:
        client.sendall(chat(1, stream=False))
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


async def wait(condition) -> None:
    """Wait like `wait_until`, while the clients of this loop continue."""
    await asyncio.to_thread(wait_until, condition)


class TestServers:
    async def test_come_and_go_while_streams_run(self, dns, start, path):
        dns.records = {NAME: (FIRST,)}
        with two_standins("--slots", "100", "--token-interval", "0.05") as (first, second):
            url = name_url(first)
            write_config(path, {"url": url, "max_concurrent_requests": 9}, **OFTEN)
            with start("--workers", "2") as router:
                await wait(lambda: router.statuses() == {first.url: "up"})
                ended = asyncio.Event()
                streams = [Stream(router.port) for _ in range(20)]
                tasks = [asyncio.create_task(stream.run(ended)) for stream in streams]
                reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                writer.write(chat(100, stream=True))
                await reader.readuntil(b"\r\n\r\n")

                dns.records = {NAME: (SECOND, FIRST)}
                await wait(lambda: set(router.statuses()) == {first.url, second.url})
                await wait(lambda: second.state()["served"] > 20)
                dns.records = {NAME: (SECOND,)}
                await wait(lambda: router.statuses() == {second.url: "up"})
                assert first.state()["running"] >= 1, "the long stream goes on"
                body = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 20)
                assert body.count(b"data: ") > 100
                assert b"data: [DONE]\n\n" in body
                writer.close()

                await wait(lambda: router.get("/load-stats")["summary"]["removed_servers"] == 0)
                before = first.state()["served"], second.state()["served"]
                await wait(lambda: second.state()["served"] > before[1] + 20)
                assert first.state()["served"] == before[0]
                ended.set()
                await asyncio.wait_for(asyncio.gather(*tasks), 20)
                assert [error for stream in streams for error in stream.errors] == []
                (server,) = router.get("/load-stats")["servers"]
                assert (server["generation"], server["max_capacity"]) == (1, 9)
                assert server["discovered_from"] == url
                log = router.stderr()
                for url_, what in ((first.url, "removed"), (second.url, "added")):
                    assert log.count(f"by DNS: server {url_} of {url} {what}\n") == 1
                assert "Traceback" not in log

    def test_are_asked_by_the_name(self, dns, start, path):
        dns.records = {NAME: (FIRST,)}
        with standin_process("--host", FIRST) as server:
            write_config(path, {"url": name_url(server), "api_key": "s3cret"}, **OFTEN)
            with start() as router:
                wait_until(router.statuses)
                fields = dict(router.get("/standin/echo")["fields"])
                assert fields["Host"] == f"{NAME}:{server.port}"
                assert fields["Authorization"] == "Bearer s3cret"

    def test_with_ipv6(self, dns, start, path):
        dns.records = {NAME: ("::1",)}
        write_config(path, f"http+dns://{NAME}:9", **OFTEN)
        with start() as router:
            wait_until(lambda: set(router.statuses()) == {"http://[::1]:9"})


class TestTrouble:
    def test_no_such_name_is_believed_after_a_while(self, dns, start, path):
        """This happens when a Kubernetes Service is scaled to 0."""
        dns.records = {NAME: (FIRST,)}
        with standin_process("--host", FIRST) as server:
            write_config(path, name_url(server), dns_interval=0.1, dns_hold=1)
            with start() as router:
                wait_until(router.statuses)
                dns.records = {}
                wait_until(lambda: warning(router) == "it has no address; the last one is kept")
                ask(router)
                wait_until(lambda: router.statuses() == {})
                assert warning(router) == "it has no address"
                assert status(router, "/readyz") == status(router, "/v1/chat/completions") == 503
                dns.records = {NAME: (FIRST,)}
                wait_until(router.statuses)
                ask(router)
                assert warning(router) is None
                lines = [line for line in router.stderr().splitlines() if "it has" in line]
                assert [line.rpartition(": ")[2] for line in lines] == [
                    *("it has no address; the last one is kept", "it has no address"),
                    "it has addresses now",
                ]

    @pytest.mark.parametrize("mood", [Mood.FAILING, Mood.SILENT])
    def test_without_an_answer_servers_stay(self, mood, dns, start, path):
        dns.records = {NAME: (FIRST,)}
        with standin_process("--host", FIRST) as server:
            write_config(path, name_url(server), dns_interval=0.1, dns_hold=0)
            with start() as router:
                wait_until(router.statuses)
                dns.mood = mood
                wait_until(lambda: warning(router) is not None)
                said = "it cannot be resolved: Temporary failure in name resolution; "
                assert warning(router) == said + "the last one is kept"
                assert router.get("/health")["dns_names"][0]["warning"] == warning(router)
                dns.records = {}
                ask(router)
                assert router.statuses() == {server.url: "up"}
                dns.records, dns.mood = {NAME: (FIRST,)}, Mood.GOOD
                wait_until(lambda: warning(router) is None)
                assert router.stderr().count("it cannot be resolved") == 1
                assert router.stderr().count("it can be resolved now") == 1

    def test_a_resolver_that_hangs_holds_up_nothing(self, dns, start, path):
        """It delays neither servers known by address or by name, nor a reload, nor the shutdown."""
        dns.records = {NAME: (FIRST,), "plain.test": (SECOND,)}
        with two_standins() as (first, second):
            plain = f"http://plain.test:{second.port}"
            names = [f"http+dns://{n}.test:9" for n in range(10)]
            write_config(path, name_url(first), *names, plain, **OFTEN)
            with start("--workers", "2", timeout=30) as router:
                wait_until(lambda: router.statuses() == {first.url: "up", plain: "up"})
                dns.mood = Mood.SILENT
                write_config(path, name_url(first), {"url": plain, "weight": 2}, **OFTEN)
                wait_until(lambda: "weight 1 -> 2" in router.stderr(), 5)
                # By then no earlier connection is left, and no cached result is fresh.
                wait_until(lambda: "no response within 5 s" in (warning(router) or ""))
                while not (first.state()["served"] and second.state()["served"]):
                    ask(router)
                assert router.statuses() == {first.url: "up", plain: "up"}
                began = time.monotonic()
                assert router.stop() == 0
                assert time.monotonic() - began < 10, "the look-ups take 30 s"


class TestStart:
    def test_waits_for_a_name_that_cannot_be_resolved_yet(self, dns, start, path):
        with standin_process("--host", FIRST) as server:
            write_config(path, name_url(server), **OFTEN)
            with start() as router:
                wait_until(lambda: warning(router) == "it has no address")
                assert (status(router, "/livez"), status(router, "/readyz")) == (200, 503)
                assert status(router, "/health") == 503
                assert "listening on" in router.stdout()
                assert ", 1 DNS name, 1 worker\n" in router.stdout()
                dns.records = {NAME: (FIRST,)}
                wait_until(lambda: status(router, "/readyz") == 200)
                ask(router)

    def test_from_the_command_line(self, dns, tmp_path):
        dns.records = {NAME: (FIRST,)}
        with standin_process("--host", FIRST) as server:
            options = ("--server", name_url(server), "--max-load", "3")
            python = python_that_asks(dns, tmp_path)
            with running(tmp_path, *RUN, *options, python=python) as router:
                wait_until(router.statuses)
                (shown,) = router.get("/load-stats")["servers"]
                assert (shown["url"], shown["max_capacity"]) == (server.url, 3)
                ask(router)


class TestReload:
    def test_names_come_and_go_with_the_file(self, dns, start, path):
        dns.records = {NAME: (FIRST, SECOND)}
        with two_standins() as (first, second):
            url = name_url(first)
            write_config(path, first.url, **OFTEN)
            with start() as router:
                wait_until(router.statuses)
                write_config(path, url, **OFTEN)
                wait_until(lambda: set(router.statuses()) == {first.url, second.url})
                generations = [s["generation"] for s in router.get("/load-stats")["servers"]]
                assert generations == [1, 1], "the one that was there is the same"
                write_config(path, {"url": url, "drain": True}, **OFTEN)
                wait_until(lambda: set(router.statuses().values()) == {"draining"})
                write_config(path, second.url, **OFTEN)
                wait_until(lambda: router.statuses() == {second.url: "up"})
                ask(router)

    def test_an_address_that_another_entry_has(self, dns, start, path):
        dns.records = {NAME: (FIRST, SECOND)}
        with two_standins() as (first, second):
            entry = {"url": first.url, "max_concurrent_requests": 2}
            write_config(path, name_url(first), entry, **OFTEN)
            with start() as router:
                wait_until(lambda: set(router.statuses()) == {first.url, second.url})
                overlap = f"{first.url} is left out: it has an entry of its own"
                assert warning(router) == overlap
                capacities = {
                    s["url"]: s["max_capacity"] for s in router.get("/load-stats")["servers"]
                }
                assert capacities == {first.url: 2, second.url: 8}
                assert router.stderr().count(overlap) == 1


class SecureServer:
    """Run an https server that returns the Host header, and records the requested names."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.names: set[str | None] = set()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps({"host": self.headers["Host"]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        context.sni_callback = lambda _socket, name, _context: self.names.add(name)
        self._server = http.server.ThreadingHTTPServer((FIRST, 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class TestTls:
    @pytest.mark.parametrize(
        ("certified", "reachable"), [(NAME, True), ("other.test", False), (FIRST, False)]
    )
    def test_the_certificate_must_have_the_name(
        self, certified, reachable, dns, start, path, tmp_path
    ):
        authority = trustme.CA()
        trusted = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(trusted)
        dns.records = {NAME: (FIRST,)}
        with contextlib.closing(SecureServer(authority.issue_cert(certified))) as server:
            write_config(path, f"https+dns://{NAME}:{server.port}", **OFTEN)
            url = f"https://{FIRST}:{server.port}"
            with start(env={"SSL_CERT_FILE": str(trusted)}) as router:
                if reachable:
                    wait_until(lambda: router.statuses() == {url: "up"})
                    assert router.get("/v1/x")["host"] == f"{NAME}:{server.port}"
                else:
                    wait_until(lambda: router.statuses() == {url: "down"})
                    wait_until(lambda: "certificate is not trusted" in router.stderr())
                assert server.names == {NAME}


def test_check_config(dns, tmp_path, path):
    dns.records = {NAME: (FIRST,)}
    with standin_process("--host", FIRST) as server:
        write_config(path, name_url(server), "http+dns://missing.test:9")
        command = [python_that_asks(dns, tmp_path), "-m", "fastroute", "check-config"]
        done = subprocess.run(
            [*command, "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout.startswith(
        f"{name_url(server)}: addresses: {FIRST}\n"
        f"http+dns://missing.test:9: addresses: none\n"
        f"{server.url}: reachable; "
    )
    assert done.stderr == "warning: http+dns://missing.test:9: it has no address\n"


def test_a_server_that_goes_while_fastroute_drains_finishes_as_well(dns, start, path):
    dns.records = {NAME: (FIRST,)}
    with standin_process("--host", FIRST, "--ttft", "1") as server:
        write_config(path, name_url(server), **OFTEN)
        with start() as router:
            wait_until(router.statuses)
            with router.connect() as client:
                client.sendall(chat(1, stream=False))
                wait_until(lambda: server.state()["running"] == 1)
                router.signal(signal.SIGTERM)
                dns.records = {NAME: (SECOND,)}
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            assert router.wait() == 0
