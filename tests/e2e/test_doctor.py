"""`fastroute doctor` as its users run it, against healthy servers and servers with problems."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.command import run_command
from tests.support.config_file import write_config
from tests.support.doctored import healthy, silent
from tests.support.meddler import meddler
from tests.support.scripted import replies, scripted
from tests.support.standins import standin, standin_process, standins
from tests.support.tls import Authority

SECONDS = 60.0
QUICK = ("--no-generate",)
GONE = "http://127.0.0.1:9"


async def doctor(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run it in a thread, while the servers of this process respond."""
    return await asyncio.to_thread(run_command, "doctor", *arguments, seconds=SECONDS, **options)


def servers(*urls: str) -> list[str]:
    return [word for url in urls for word in ("--server", url)]


def severities(document: dict, server: int = 0) -> dict[str, str]:
    return {each["check"]: each["severity"] for each in document["servers"][server]["findings"]}


@pytest.fixture(name="config")
def config_fixture(tmp_path):
    return tmp_path / "servers.toml"


async def test_servers_that_are_well(config):
    async with standins(2, token_interval=0.01) as found:
        write_config(config, *(server.url for server in found), aliases={"gpt": "standin"})
        done = await doctor("--config", str(config))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "asked to generate 33 tokens" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{found[0].url}: no problems"
    assert lines[-1] == "verdict: no problems, 2 of 2 servers"
    for check in ("reachable", "clock", "models", "API key", "metrics", "scrape", "capacity",
                  "keep-alive", "stream", "abort"):  # fmt: skip
        assert sum(line.startswith(f"  ok       {check} ") for line in lines) == 2, check
    assert re.search(
        r"closes idle connections after 5\.\d s; pool_idle_timeout is 4 s", done.stdout
    )
    assert "  ok       versions    all run 0.32.0" in lines
    assert "  ok       aliases     1 of 1 have a server with their model" in lines


async def test_it_leaves_nothing_behind():
    async with standin(token_interval=0.01, keep_alive=0.5) as server:
        done = await doctor(*servers(server.url))
        assert "  ok       abort" in done.stdout
        assert (server.engine.running, server.engine.waiting) == (0, 0)
        assert server.engine.generation_tokens < 33 + 390
        assert server.counters.connections_open == 0


async def test_without_generation_nothing_is_generated():
    async with standin(keep_alive=0.5) as server:
        done = await doctor(*servers(server.url), *QUICK)
        assert server.engine.prompt_tokens == 0
    assert done.stderr == ""
    assert "stream" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 0), (("--strict",), 1)], ids=["warnings", "strict"]
)
async def test_warnings(config, arguments, code):
    """A keep-alive timeout shorter than the pool's is a warning."""
    async with standin(keep_alive=0.3) as server:
        write_config(config, server.url)
        done = await doctor("--config", str(config), *QUICK, *arguments)
    assert done.returncode == code
    assert re.search(r"  warning  keep-alive  closes idle connections after 0\.\d s", done.stdout)
    assert "-> set pool_idle_timeout" in done.stdout
    assert done.stdout.endswith(f"works, with warnings: {server.url} (keep-alive)\n")


async def test_a_server_that_is_gone_among_one_that_is_not():
    async with standin(keep_alive=0.3) as server:
        done = await doctor(*servers(GONE, server.url), "--json", *QUICK)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["verdict"] == "error"
    assert severities(document, 0) == {"reachable": "error"}
    assert severities(document, 1)["reachable"] == "ok"
    assert document["servers"][1]["measured"]["reach"]["status"] == 200


async def test_a_proxy_that_holds_back_and_hears_no_goodbye():
    async with standin(token_interval=0.03) as server:
        async with scripted(meddler(server.port)) as proxy:
            done = await doctor(*servers(proxy.url), "--json")
    assert done.returncode == 1
    found = severities(json.loads(done.stdout))
    assert (found["stream"], found["abort"]) == ("error", "error")
    assert found["keep-alive"] == "warning"
    assert (found["reachable"], found["metrics"], found["models"]) == ("ok", "ok", "ok")


async def test_a_proxy_that_hears_no_goodbye():
    async with standin(token_interval=0.01) as server:
        async with scripted(meddler(server.port, lot=1)) as proxy:
            done = await doctor(*servers(proxy.url), "--json")
    assert done.returncode == 1
    found = severities(json.loads(done.stdout))
    assert (found["stream"], found["abort"]) == ("ok", "error")


async def test_something_that_is_no_vllm():
    not_found = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    async with scripted(replies(not_found)) as server:
        done = await doctor(*servers(server.url), *QUICK)
    assert done.returncode == 1
    for words in (
        "  error    reachable   /health returns 404",
        "  unknown  clock       no Date header in its response",
        "  error    models      models unknown: /v1/models returned 404",
        "  error    metrics     load unknown: /metrics returns 404",
    ):
        assert words in done.stdout
    assert done.stdout.count("-> ") == 3


async def test_one_that_hangs():
    """It is abandoned, and does not delay the others."""
    async with scripted(silent) as hung, standin(keep_alive=0.3) as server:
        done = await doctor(*servers(hung.url, server.url), *QUICK)
    assert done.returncode == 1
    assert "  error    reachable   no response within 5 s" in done.stdout
    assert f"{server.url}: works, with warnings" in done.stdout


async def test_a_clock_that_is_wrong():
    async with scripted(healthy(ahead=3600)) as server:
        done = await doctor(*servers(server.url), "--json", *QUICK)
    assert severities(json.loads(done.stdout))["clock"] == "warning"


async def test_pinned_models_and_aliases_that_nobody_has(config):
    async with standin(keep_alive=0.3) as server:
        entry = {"url": server.url, "models": ["standin", "llama"]}
        write_config(config, entry, aliases={"gpt": "qwen"})
        done = await doctor("--config", str(config), *QUICK)
    assert done.returncode == 1
    assert "  error    models      does not list llama" in done.stdout
    assert "  error    aliases     alias gpt: no server has its model qwen" in done.stdout


class TestTls:
    """Servers with certificates of a CA in SSL_CERT_FILE."""

    async def found(self, folder, name="127.0.0.1", days=90, trusted=True):
        authority = Authority()
        theirs = authority.of_server(name, datetime.now(UTC) + timedelta(days=days))
        env = dict(os.environ)
        if trusted:
            env["SSL_CERT_FILE"] = authority.file(folder)
        async with scripted(healthy(), tls=theirs) as server:
            done = await doctor(*servers(server.url), "--json", *QUICK, env=env)
        (only,) = json.loads(done.stdout)["servers"]
        return {each["check"]: each for each in only["findings"]}

    @pytest.mark.parametrize(
        ("days", "severity"), [(90, "ok"), (3, "warning")], ids=["valid", "expires-soon"]
    )
    async def test_trusted(self, tmp_path, days, severity):
        found = await self.found(tmp_path, days=days)
        assert found["reachable"]["severity"] == "ok"
        assert found["TLS"]["severity"] == severity
        assert ", valid until" in found["TLS"]["words"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            pytest.param({"trusted": False}, "unable to get local issuer", id="authority"),
            pytest.param({"name": "other.example"}, "IP address mismatch", id="name"),
            pytest.param({"days": -1}, "certificate has expired", id="expired"),
        ],
    )
    async def test_not_trusted(self, tmp_path, options, words):
        found = await self.found(tmp_path, **options)
        assert list(found) == ["reachable"]
        assert found["reachable"]["severity"] == "error"
        assert words in found["reachable"]["words"]
        assert "SSL_CERT_FILE" in found["reachable"]["remedy"]

    async def test_http_in_place_of_https(self):
        async with scripted(healthy(), tls=Authority().of_server("127.0.0.1")) as server:
            done = await doctor(*servers(server.url.replace("https:", "http:")), *QUICK)
        assert f"-> it expects TLS: write {server.url}" in done.stdout

    async def test_https_in_place_of_http(self):
        async with standin() as server:
            done = await doctor(*servers(server.url.replace("http:", "https:")), *QUICK)
        assert f"-> it does not support TLS: write {server.url}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--config", "no.toml"], "no.toml: cannot be read", id="no-file"),
        pytest.param(["--server", "gpu"], "must be http://host:port", id="url"),
        pytest.param(["--server", GONE, "--config", "x"], "exclude each other", id="both"),
        pytest.param([], "give --config FILE or --server URL", id="nothing"),
    ],
)
def test_mistakes(arguments, words, tmp_path):
    path = os.pathsep.join(filter(None, [str(os.getcwd()), os.environ.get("PYTHONPATH")]))
    done = run_command("doctor", *arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastroute: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_on_a_terminal_it_shows_life_and_folds(tmp_path):
    with standin_process("--keep-alive", "0.5") as server:
        text = _on_a_terminal("doctor", "--server", server.url, "--no-generate", columns=60)
    assert re.search(r"checking 1 server: \d of 6 done", text)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    report = plain[plain.rindex(f"{server.url}: ") :].replace("\r", "")
    assert "warning  keep-alive" in report
    assert max(len(line) for line in report.splitlines()[:-1]) <= 60


def _on_a_terminal(*arguments: str, columns: int) -> str:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    command = [sys.executable, "-m", "fastroute", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 4096)
            except OSError:
                break
        process.wait(20)
    os.close(ours)
    return output.decode()
