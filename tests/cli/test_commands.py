import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from fastroute.cli.cpus import usable_cpus
from fastroute.cli.version import version_line
from tests.support.command import is_alive, run_command, running, wait_until
from tests.support.standins import standin_process

SERVER = ("--server", "http://127.0.0.1:9")
FILE = '[servers]\nservers = [ { url = "http://127.0.0.1:9" } ]\n'


@pytest.fixture(name="taken_port")
def taken_port_fixture():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield str(taken.getsockname()[1])


@pytest.fixture(name="repository_path")
def repository_path_fixture():
    """Return the environment for a run in a folder where the package may not be installed."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


class TestVersion:
    @pytest.mark.parametrize("arguments", [["version"], ["--version"]], ids=lambda a: a[0])
    def test_is_printed(self, arguments):
        done = run_command(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, version_line() + "\n", "")


class TestHelp:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            pytest.param([], ["fastroute demo", "fastroute run --server"], id="all"),
            pytest.param(
                ["run"],
                [
                    *("fastroute run --config servers.toml", "OpenAI base URL", "/v1"),
                    *("(servers.toml)", "0.0.0.0", "8888", "--max-load", "default: info"),
                    *("drain_timeout", "Exit codes"),
                ],
                id="run",
            ),
            pytest.param(
                ["doctor"],
                [
                    *("fastroute doctor --config servers.toml", "(servers.toml)", "--no-generate"),
                    *("generates 33", "512 more", "--strict", "docs/doctor.md"),
                    *("Exit codes", "0: no errors", "1: errors", "2: invalid options"),
                ],
                id="doctor",
            ),
            pytest.param(
                ["route"],
                [
                    *("fastroute route --model", "--url", "OTHERS", "No request is sent"),
                    *("Exit codes", "0: a server would", "1: no server", "2: invalid options"),
                ],
                id="route",
            ),
            pytest.param(
                ["demo"],
                ["three stand-in servers", "curl", "127.0.0.1", "--no-traffic", "--servers"],
                id="demo",
            ),
        ],
    )
    def test_teaches(self, arguments, words):
        done = run_command(
            *arguments, "--help", env={**os.environ, "TERM": "dumb", "COLUMNS": "120"}
        )
        assert (done.returncode, done.stderr) == (0, "")
        for word in words:
            assert word in done.stdout


class TestMistakes:
    """Each ends with exit code 2 and one line on stderr."""

    def refused(self, *arguments: str, **options) -> str:
        done = run_command(*arguments, **options)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(r"fastroute: [^\n]+\n", done.stderr), done.stderr
        return done.stderr.removeprefix("fastroute: ").removesuffix("\n")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            pytest.param(
                [],
                "no servers: servers.toml does not exist here; give --config FILE or --server URL",
                id="nothing",
            ),
            pytest.param(
                ["--config", "no.toml"],
                "no.toml: cannot be read: No such file or directory",
                id="file-missing",
            ),
            pytest.param(
                ["--config", "servers.toml", *SERVER],
                "--server and --config exclude each other",
                id="both",
            ),
            pytest.param(
                ["--max-load", "3"],
                "--max-load needs --server; in a file, set max_concurrent_requests",
                id="load-without-server",
            ),
            pytest.param(
                ["--max-load", "0", *SERVER],
                "--max-load 0: must be a whole number of requests from 1 to 1000000",
                id="load",
            ),
            pytest.param(
                ["--server", "gpu-1:8000"],
                '--server: server 1: url = "gpu-1:8000": must be http://host:port or '
                "https://host:port",
                id="url",
            ),
            *(
                pytest.param(
                    ["--workers", count, *SERVER],
                    f"--workers {count}: must be auto or a number from 1 to 256",
                    id=f"workers-{count}",
                )
                for count in ("0", "257", "many", "1.5", "²")
            ),
        ],
    )
    def test_options(self, arguments, expected, tmp_path, repository_path):
        assert self.refused("run", *arguments, cwd=tmp_path, env=repository_path) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("[servers]\nservers = []\n", "no servers: ", id="no-servers"),
            pytest.param(
                FILE + "[config]\nmax_retry = 1\n", "[config] unknown key max_retry", id="key"
            ),
            pytest.param("]", "not valid TOML: ", id="toml"),
        ],
    )
    def test_file(self, text, expected, tmp_path):
        path = tmp_path / "servers.toml"
        path.write_text(text)
        assert self.refused("run", "--config", str(path)).startswith(f"{path}: {expected}")

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_port_in_use(self, workers, taken_port):
        options = ("--host", "127.0.0.1", "--port", taken_port, "--workers", workers)
        assert self.refused("run", *SERVER, *options) == (
            f"cannot listen on 127.0.0.1:{taken_port}: Address already in use (see --host, --port)"
        )

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_port_in_use_by_another_router(self, workers, tmp_path):
        """Routers of several workers could share a port, and split the clients among them."""
        options = ("--host", "127.0.0.1", *SERVER)
        with running(tmp_path, "run", *options, "--port", "0", "--workers", "2") as router:
            message = self.refused(
                "run", *options, "--port", str(router.port), "--workers", workers
            )
        assert "Address already in use" in message

    def test_demo_on_a_port_in_use(self, taken_port):
        assert "(see --host, --port)" in self.refused("demo", "--port", taken_port)

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param(["run", "--port", "65536"], id="port"),
            pytest.param(["run", "--log-level", "loud"], id="log-level"),
            pytest.param(["run", "--nonsense"], id="option"),
            pytest.param(["demo", "--servers", "1"], id="servers"),
            pytest.param(["demo", "--outage-every", "-1"], id="outage"),
            pytest.param(["demo", "--outage-every", "inf"], id="outage-inf"),
            pytest.param(["demo", "--outage-every", "nan"], id="outage-nan"),
            pytest.param(["walk"], id="command"),
        ],
    )
    def test_what_typer_rejects(self, arguments):
        done = run_command(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


class TestRun:
    def test_reads_servers_toml_of_the_working_directory(self, tmp_path, repository_path):
        (tmp_path / "servers.toml").write_text(FILE)
        options = {"env": repository_path, "cwd": tmp_path}
        with running(tmp_path, "run", "--host", "127.0.0.1", "--port", "0", **options) as router:
            assert router.get("/load-stats")["servers"][0]["url"] == "http://127.0.0.1:9"

    def test_console_and_log_level(self, tmp_path):
        options = ("--host", "127.0.0.1", "--port", "0", "--console", "--log-level", "ERROR")
        with running(tmp_path, "run", *SERVER, *options) as router:
            assert router.stop() == 0
            assert router.stderr() == ""

    def test_one_worker_for_each_usable_cpu(self, tmp_path):
        options = ("--host", "127.0.0.1", "--port", "0", "--workers", "auto")
        with running(tmp_path, "run", *SERVER, *options) as router:
            cpus = usable_cpus()
            assert len(router.children()) == cpus.count
            assert f"(auto: {cpus})\n" in router.stdout()

    def test_ipv6(self, tmp_path):
        if not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        with running(tmp_path, "run", *SERVER, "--host", "::1", "--port", "0") as router:
            assert router.url == f"http://[::1]:{router.port}"
            assert router.get("/load-stats")["summary"]["total_servers"] == 1


class TestCheckConfig:
    def test_lists_the_servers(self, tmp_path):
        path = tmp_path / "servers.toml"
        with standin_process() as server:
            servers = f'{{ url = "{server.url}" }}, {{ url = "http://127.0.0.1:9" }}'
            path.write_text(f"[servers]\nservers = [ {servers} ]\n")
            done = run_command("check-config", "--config", str(path))
        assert done.returncode == 0
        first, second = done.stdout.splitlines()
        start = f"{server.url}: reachable; version: 0.32.0; models: standin; metrics: num_requests"
        assert first.startswith(start)
        assert second == "http://127.0.0.1:9: unreachable: cannot connect: Connection refused"
        assert done.stderr.startswith("warning: 1 of 2 servers cannot be reached: ")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param(None, "cannot be read: No such file or directory", id="missing"),
            pytest.param("]", "not valid TOML: ", id="toml"),
            pytest.param(FILE + "[config]\nx = 1\n", "[config] unknown key x: known: ", id="key"),
        ],
    )
    def test_an_invalid_file(self, text, expected, tmp_path):
        path = tmp_path / "servers.toml"
        if text is not None:
            path.write_text(text)
        done = run_command("check-config", "--config", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"fastroute: {path}: {expected}")
        assert done.stderr.count("\n") == 1


class TestDemo:
    def test_the_printed_curl_line_works_and_one_signal_ends_everything(self, tmp_path):
        with running(tmp_path, "demo", "--port", "0") as demo:
            # A worker, three servers, their clients.
            wait_until(lambda: len(demo.children()) == 5)
            pids = demo.children()
            wait_until(lambda: "curl" in demo.stdout())
            line = next(line for line in demo.stdout().splitlines() if "curl" in line)
            done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30)
            assert done.stdout.startswith("data: {")
            assert done.stdout.endswith("data: [DONE]\n\n")
            demo.signal(signal.SIGINT)
            assert demo.wait() == 0
            assert not any(map(is_alive, pids))
