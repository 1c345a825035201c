import os
import pty
import subprocess
import sys

import pytest

from fastroute.config import parse_config
from fastroute.control.check_report import print_report, warnings
from fastroute.control.name_check import NameCheck
from fastroute.control.server_check import ServerCheck

GOOD = ServerCheck(
    url="http://a", version="0.32.0", models=("m", "n"), metrics=("vllm:num_requests_running",)
)
GONE = ServerCheck(url="http://b", error="cannot connect: Connection refused")


def config(extra_a: str = "", aliases: str = "{}"):
    servers = f'{{ url = "http://a"{extra_a} }}, {{ url = "http://b" }}'
    return parse_config(f"[servers]\nservers = [ {servers} ]\n[config]\naliases = {aliases}\n", "t")


def test_lines(capsys):
    print_report(config(), [GOOD, GONE])
    out, err = capsys.readouterr()
    assert out == (
        "http://a: reachable; version: 0.32.0; models: m, n; metrics: num_requests_running\n"
        "http://b: unreachable: cannot connect: Connection refused\n"
    )
    assert err == (
        "warning: 1 of 2 servers cannot be reached: http://b (cannot connect: Connection refused)\n"
    )


def test_a_server_that_tells_nothing(capsys):
    print_report(config(), [ServerCheck(url="http://a"), ServerCheck(url="http://b")])
    line = "http://a: reachable; version: unknown; models: none; metrics: none\n"
    assert capsys.readouterr().out.startswith(line)


def test_what_servers_say_does_not_reach_the_terminal_as_it_is(capsys):
    evil = ServerCheck(url="http://a", models=("\x1b]0;owned\x07",), problems=["bad\x1b[2J"])
    print_report(config(), [evil, GOOD])
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("settings", "checks", "expected"),
    [
        pytest.param(config(), [GOOD, GOOD], [], id="fine"),
        pytest.param(
            config(),
            [ServerCheck(url="http://a", problems=["/health answers 503"]), GOOD],
            ["http://a: /health answers 503"],
            id="problem",
        ),
        pytest.param(
            config(aliases='{ x = "m", y = "z" }'),
            [GOOD, GOOD],
            ["alias y stands for z, which no server has"],
            id="lost-alias",
        ),
        pytest.param(
            config(aliases='{ y = "z" }'),
            [GOOD, ServerCheck(url="http://b")],
            [],
            id="a-server-may-have-it",
        ),
        pytest.param(
            config(', models = ["z"]', aliases='{ y = "z" }'), [GOOD, GOOD], [], id="pinned"
        ),
    ],
)
def test_warnings(settings, checks, expected):
    assert warnings(settings, checks) == expected


FOUND = NameCheck(url="http+dns://v:1", addresses=("10.0.0.1", "10.0.0.2"), problems=("odd",))
LOST = NameCheck(url="http+dns://w:1", addresses=(), problems=("it has no address",))


def test_names(capsys):
    print_report(config(), [GOOD, GOOD], [FOUND, LOST])
    out, err = capsys.readouterr()
    assert out.startswith(
        "http+dns://v:1: addresses: 10.0.0.1, 10.0.0.2\n"
        "http+dns://w:1: addresses: none\n"
        "http://a: reachable;"
    )
    assert err == "warning: http+dns://v:1: odd\nwarning: http+dns://w:1: it has no address\n"


@pytest.mark.parametrize(("names", "warned"), [([FOUND], True), ([FOUND, LOST], False)])
def test_a_server_that_was_not_found_may_have_the_model_of_an_alias(names, warned):
    said = warnings(config(aliases='{ y = "z" }'), [GOOD, GOOD], names)
    assert ("alias y stands for z, which no server has" in said) is warned


def test_a_table_and_a_sign_of_life_on_a_terminal(tmp_path):
    path = tmp_path / "servers.toml"
    path.write_text('[servers]\nservers = [ { url = "http://[::1]:9" } ]\n')
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fastroute", "check-config", "--config", str(path)]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 4096)
            except OSError:
                break
        assert process.wait(20) == 0
    os.close(ours)
    text = output.decode()
    assert "asking 1 servers" in text
    assert "http://[::1]:9" in text
    assert "│" in text
    assert "warning: 1 of 1 servers cannot be reached" in text
