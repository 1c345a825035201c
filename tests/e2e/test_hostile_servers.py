"""Servers that attack the supervisor, the workers, the terminal and the tools.

Time is measured as CPU time of the processes, because the machine may be busy.
"""

import asyncio
import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastroute.control.workers.activity import activity_of
from tests.support.command import wait_until
from tests.support.hostile_server import (
    FORGED,
    bomb,
    hostile,
    json_text,
    many_models,
    model_list,
    other_labels,
    response,
    samples,
)
from tests.support.monitor_terminal import FASTROUTE, wait_for_monitor
from tests.support.processes import memory, router_process
from tests.support.standin_client import ask, chat
from tests.support.standins import standin, until

MB = 1_000_000
BACK_WITHIN = 20 * MB
"""Bytes that a process may have more than before an attack."""

ONE_MODEL = model_list(["m"])


def cpu_s(pid: int) -> float:
    return activity_of(pid).cpu_s


class TestModels:
    """480,000 models took a worker 1 s and 146 MB, and made log lines and errors of 4 MB."""

    async def test_a_long_list(self, tmp_path):
        listed = {"/v1/models": ONE_MODEL}
        async with (
            hostile(listed) as bad,
            standin(models=("good",)) as good,
            router_process(tmp_path, bad.url, good.url, models_refresh_interval=0.1) as router,
        ):
            worker = router.worker_pids()[0]
            await has_logged(router, "has models: m\n")
            processes = (router.pid, worker)
            before = [memory(pid) for pid in processes]
            used = cpu_s(worker)
            listed["/v1/models"] = many_models(480_000)
            await has_logged(router, "470000 are ignored")
            await until_model(router, "m9999")
            assert cpu_s(worker) - used < 0.5, "it took 0.7 s, and 0.1 are usual"
            listed["/v1/models"] = ONE_MODEL
            await until_no_model(router, "m9999")
            await until(
                lambda: all(
                    memory(pid) < then + BACK_WITHIN
                    for pid, then in zip(processes, before, strict=True)
                ),
                20,
            )
            assert (await ask(router.port, chat(model="good"))).status == 200
        log = router.stderr()
        assert log.count("are ignored") == 1
        assert max(map(len, log.splitlines())) < 1000

    @pytest.mark.parametrize("model", ["m1", None], ids=["named", "without-a-name"])
    async def test_failures_for_all_models(self, tmp_path, model):
        """A failed request without a model counted for each of 10,000, and each tick compared each
        of them with each other: the supervisor did nothing else."""
        probes = []

        def probed() -> bytes:
            probes.append(time.monotonic())
            return b""

        bodies = {
            "/health": probed,
            "/v1/models": many_models(10_000),
            "/v1/chat/completions": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        }
        async with (
            hostile(bodies) as bad,
            router_process(tmp_path, bad.url, health_check_interval=0.5) as router,
        ):
            await has_logged(router, "has models: m0")
            await until_model(router, "m9999")
            before, used = memory(router.pid), cpu_s(router.pid)
            begun, seen = time.monotonic(), len(probes)
            for _ in range(5):
                await asyncio.to_thread(post_chat, router.port, model, "id")
            await until(lambda: len(probes) > seen + 5, 60)
            share = (cpu_s(router.pid) - used) / (time.monotonic() - begun)
            assert share < 0.25, "it was 0.8"
            assert memory(router.pid) < before + BACK_WITHIN


async def has_logged(router, text: str) -> None:
    await until(lambda: text in router.stderr(), 20)


async def models_of(router) -> set[str]:
    listed = (await asyncio.to_thread(router.get, "/v1/models"))["data"]
    return {model["id"] for model in listed}


async def until_model(router, name: str) -> None:
    async with asyncio.timeout(20):
        while name not in await models_of(router):
            await asyncio.sleep(0.1)


async def until_no_model(router, name: str) -> None:
    async with asyncio.timeout(20):
        while name in await models_of(router):
            await asyncio.sleep(0.1)


ROUNDS = 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/metrics", samples(200_000), id="many-samples"),
        pytest.param("/metrics", other_labels(19_000, 60), id="labels-that-never-come-again"),
        pytest.param("/metrics", samples(1, ",".join(["a"] * 10**6)), id="long-label"),
        pytest.param("/metrics", b"#" * 7 * MB, id="long-comment"),
        pytest.param(
            "/metrics",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n#\r\n" * MB,
            id="tiny-chunks",
        ),
        pytest.param("/metrics", b"HTTP/1.1 103 X\r\n\r\n" * 300_000, id="endless-hints"),
        pytest.param("/health", response(b"", b"X: y\r\n" * MB), id="endless-head"),
        pytest.param("/health", bytes(8 * MB), id="long-health"),
    ],
)
async def test_the_supervisor_keeps_probing(tmp_path, path, body):
    """Metrics of 8 MB took the supervisor 0.4 s each, so probes of other servers came late."""
    attacks, probes = 0, []

    def attack() -> bytes:
        nonlocal attacks
        attacks += 1
        return body if isinstance(body, bytes) else body()

    def probed() -> bytes:
        probes.append(time.monotonic())
        return b""

    async with (
        hostile({path: attack}) as bad,
        hostile({"/health": probed}) as good,
        router_process(
            tmp_path, bad.url, good.url, scrape_interval=0.5, health_check_interval=0.5
        ) as router,
    ):
        before, used = memory(router.pid), cpu_s(router.pid)
        begun, seen = attacks, len(probes)
        await until(lambda: attacks >= begun + ROUNDS and len(probes) >= seen + 3, 30)
        assert (cpu_s(router.pid) - used) / (attacks - begun) < 0.35
        await until(lambda: memory(router.pid) < before + BACK_WITHIN, 10)
        stats = await asyncio.to_thread(router.statuses)
    assert stats[good.url] == "up"


@pytest.mark.parametrize("command", ["doctor", "check-config", "route"])
async def test_a_compressed_body_does_not_fill_memory(tmp_path, command):
    """A doctor decompressed 1 MB to 3 GB."""
    packed = bomb(200 << 20)
    bodies = dict.fromkeys(("/health", "/metrics", "/v1/completions", "/version"), packed)
    async with hostile(bodies, b"Content-Encoding: gzip\r\n") as server:
        file = tmp_path / "servers.toml"
        file.write_text(f'[servers]\nservers = [{{ url = "{server.url}" }}]\n')
        more = ("--model", "m") if command == "route" else ()
        program = [sys.executable, "-m", "fastroute", command, "--config", str(file), *more]
        peak = await asyncio.to_thread(peak_memory, program)
    assert peak < 150 * MB


def peak_memory(program: list[str]) -> int:
    """Run a program and return the bytes of memory that it had at most."""
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status, peak = Path(f"/proc/{process.pid}/status"), 0

    def has_ended() -> bool:
        # Not the maximum that wait4(2) reports, which is at least that of this process.
        nonlocal peak
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        peak = int(found[1]) * 1024 if found else peak
        return process.poll() is not None

    wait_until(has_ended, 60)
    return peak


HOSTILE_TEXTS = {
    "/v1/models": model_list([json_text(FORGED), "n" * 256, *(f"m{n}" for n in range(5000))]),
    "/version": f'{{"version":"{json_text(FORGED)}{"v" * 100_000}"}}'.encode(),
    "/metrics": b"vllm:num_requests_running\x1b[2J\x9b\nvllm:num_requests_waiting{ 0\n",
    "/v1/completions": response(b"data: \x1b[2J\x9b31m\n\n"),
    "/v1/chat/completions": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


def assert_harmless(output: str) -> None:
    lines = output.split("\n")
    assert all(line.isprintable() for line in lines), [x for x in lines if not x.isprintable()]
    assert not [line for line in lines if line.startswith("2026-01-01")], "a forged line"


class TestTexts:
    """A name with a line feed forged a log line, and one with ESC reached the terminal."""

    @pytest.mark.parametrize("form", ["text", "json"])
    async def test_logs(self, tmp_path, form):
        access = tmp_path / "access"
        async with (
            hostile(HOSTILE_TEXTS) as server,
            router_process(
                tmp_path,
                server.url,
                access_log=form,
                access_log_file=str(access),
                options=("--log-format", form, "--log-file", str(tmp_path / "log")),
            ) as router,
        ):
            log = tmp_path / "log"
            await until(lambda: "has models" in log.read_text(), 20)
            for model in (FORGED, "unheard-of\x9b\u202e", "n" * 256):
                await asyncio.to_thread(post_chat, router.port, model, "id\x9b31m" + "i" * 8000)
            await until(lambda: access.read_text().count("\n") == 3, 10)
            await until(lambda: "failed while" in log.read_text(), 10)
        for file in (log, access):
            assert_harmless(file.read_text())
            assert max(map(len, file.read_text().splitlines())) < 2500
            assert file.stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize(
        "command",
        [
            pytest.param(("doctor", "--no-generate", "--server"), id="doctor"),
            pytest.param(("doctor", "--json", "--server"), id="doctor-json"),
            pytest.param(("route", "--model", "x", "--server"), id="route"),
            pytest.param(("route", "--model", "x", "--json", "--server"), id="route-json"),
        ],
    )
    async def test_tools(self, command):
        async with hostile(HOSTILE_TEXTS) as server:
            output = await asyncio.to_thread(output_of, *command, server.url)
        assert_harmless(output)
        if "--json" in command:
            values = json.dumps(json.loads(output[output.index("{") :]))
            assert json_text(FORGED) in values, "escaped in the output, unchanged as a value"
        else:
            assert len(output) < 5000

    async def test_check_config(self, tmp_path):
        async with hostile(HOSTILE_TEXTS) as server:
            file = tmp_path / "servers.toml"
            file.write_text(f'[servers]\nservers = [{{ url = "{server.url}" }}]\n')
            output = await asyncio.to_thread(output_of, "check-config", "--config", str(file))
        assert_harmless(output)
        assert r"\u001b[2J" in output

    @pytest.mark.parametrize("option", ["--once", "--json"])
    async def test_top(self, tmp_path, option):
        async with (
            hostile(HOSTILE_TEXTS) as server,
            router_process(tmp_path, server.url) as router,
        ):
            await has_logged(router, "has models")
            output = await asyncio.to_thread(output_of, "top", option, router.url)
        assert_harmless(output)
        assert r"x\n2026-01-01T" in output

    async def test_screen(self, shell):
        async with hostile(HOSTILE_TEXTS) as server:

            def look() -> None:
                shell.type(f"{FASTROUTE} run --host 127.0.0.1 --port 0 --server {server.url}")
                wait_for_monitor(shell)
                shell.press("Enter")
                shell.wait_for(r"\u001b[2J")
                shell.press("Escape")
                shell.wait_for(" SERVER ")
                shell.press("l")
                assert r"forged\u001b[2J" in shell.wait_for("has models").replace("\n", "")
                shell.press("q")
                shell.wait_for("draining")

            await asyncio.to_thread(look)


def post_chat(port: int, model: str | None, request_id: str) -> None:
    body = json.dumps({"messages": []} | ({} if model is None else {"model": model}))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        fields = {"Content-Type": "application/json", "X-Request-Id": request_id}
        connection.request("POST", "/v1/chat/completions", body, fields)
        connection.getresponse().read()


def output_of(*arguments: str) -> str:
    """Return what a command writes to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "fastroute", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.decode()
