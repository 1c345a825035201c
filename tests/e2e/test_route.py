"""`fastroute route` as users run it: with servers, and with a router under load."""

import asyncio
import json
import os
import subprocess

import pytest

from tests.support.command import run_command, wait_until
from tests.support.config_file import write_config
from tests.support.processes import in_flight_is, router_process
from tests.support.standin_client import chat, client
from tests.support.standins import standin, standins

GONE = "http://127.0.0.1:9"


async def route(*arguments: str) -> subprocess.CompletedProcess:
    """Run it in a thread, while the servers of this process respond."""
    return await asyncio.to_thread(run_command, "route", *arguments)


async def test_a_busy_server_and_an_idle_one(tmp_path):
    config = tmp_path / "servers.toml"
    async with standins(2, token_interval=0.05) as (busy, idle):
        write_config(config, busy.url, idle.url, GONE, aliases={"gpt": "standin"})
        async with client(busy.port) as other:
            other.send(chat(max_tokens=200, stream=True))
            await other.read_some()
            done = await route("--model", "gpt", "--config", str(config))
            as_json = await route("--model", "gpt", "--config", str(config), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, heads, *rows = done.stdout.splitlines()
    assert first == f"{idle.url}: the lowest score is taken (policy load)"
    assert heads.split() == ["SERVER", "CHANCE", "SCORE", "OWN", "OTHERS", "CAP"]
    assert [row.split()[:6] for row in rows[:2]] == [
        [idle.url, "100%", "0.00", "0", "0", "8"],
        [busy.url, "0%", "0.12", "0", "1", "8"],
    ]
    assert rows[2].split(maxsplit=6) == [
        *(GONE, "-", "-", "0", "0", "8"),
        "down: cannot connect: Connection refused",
    ]
    document = json.loads(as_json.stdout)
    assert (document["model"], document["chosen"]) == ("standin", idle.url)


async def test_a_tie():
    async with standins(2) as found:
        urls = [server.url for server in found]
        done = await route(*(word for url in urls for word in ("--server", url)))
    assert done.returncode == 0
    assert done.stdout.startswith(f"tie, at random among {', '.join(urls)}: ")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param("other", "no server: none has other; known: standin", id="unknown-model"),
        pytest.param("standin", None, id="known"),
    ],
)
async def test_the_exit_code_says_whether_there_is_one(model, words):
    async with standin() as server:
        done = await route("--server", server.url, "--model", model)
    assert done.returncode == (0 if words is None else 1)
    assert words is None or done.stdout.splitlines()[0] == words


async def test_no_server_at_all():
    done = await route("--server", GONE, "--model", "m")
    assert done.returncode == 1
    assert done.stdout.startswith("no server: none that may have m is usable now\n")


async def test_of_a_router_its_own_requests_are_counted(tmp_path):
    """One server has one request of the router, the other two of another client."""
    async with standins(2, token_interval=0.05) as (first, second):
        async with router_process(tmp_path, first.url, second.url, scrape_interval=0.05) as router:
            async with client(second.port) as one, client(second.port) as two:
                for other in (one, two):
                    other.send(chat(max_tokens=1000, stream=True))
                    await other.read_some()
                await asyncio.to_thread(wait_until, lambda: _foreign(router, second.url) == 2)
                async with client(router.port) as ours:
                    ours.send(chat(max_tokens=1000, stream=True, model="standin"))
                    await in_flight_is(router, 1)
                    done = await route("--url", router.url, "--model", "standin", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["chosen"] == first.url
    loads = [(each["in_flight"], each["foreign_load"]) for each in document["servers"]]
    assert loads == [(1, 0.0), (0, 2.0)]
    assert [each["models"] for each in document["servers"]] == [["standin"], ["standin"]]


def _foreign(router, url: str) -> float:
    stats = router.get("/load-stats")["servers"]
    return next(each["foreign_load"] for each in stats if each["url"] == url)


async def test_a_router_knows_why_a_server_is_out(tmp_path):
    async with standin() as server:
        settings = {"health_check_interval": 0.2, "health_check_consecutive_failures": 1}
        async with router_process(tmp_path, server.url, GONE, **settings) as router:
            await asyncio.to_thread(wait_until, lambda: router.statuses()[GONE] == "down")
            await asyncio.to_thread(
                wait_until, lambda: router.get("/server-models")["models"].get("standin")
            )
            done = await route("--url", router.url, "--model", "standin")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{server.url}: the only server that can take it\n")
    last = done.stdout.splitlines()[-1]
    assert last.startswith(GONE)
    assert last.endswith("failed: cannot connect: Connection refused")


def test_no_router():
    done = run_command("route", "--url", GONE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fastroute: {GONE}: cannot connect: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["--url", GONE, "--server", GONE],
            "--url excludes --config and --server: the router has its servers",
            id="both",
        ),
        pytest.param(["--url", "http://a/b"], "must be http://host:port", id="url"),
        pytest.param(["--config", "no.toml"], "no.toml: cannot be read", id="no-file"),
    ],
)
def test_mistakes(arguments, words):
    done = run_command("route", *arguments, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fastroute: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
