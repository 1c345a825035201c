import os
import pty
import subprocess
import sys

import pytest

from fastroute.control.watch.name_check import NameCheck
from fastroute.doctor.check_report import print_report, warnings
from fastroute.doctor.examine import diagnose
from fastroute.doctor.facts import Models, Step
from tests.support.facts import facts, metrics, reach

NOTHING = dict.fromkeys(
    ("version", "models", "metrics", "filtered", "keep_alive", "stream", "abort")
)
SETTINGS = {"aliases": {"x": "m", "y": "z"}}


def quick(url: str, **changes):
    """Return a server with the measurements of check-config."""
    left_out = {"keep_alive": None, "stream": None, "abort": None}
    models = Models(status=200, names=("m", "n"))
    few = metrics(names=("vllm:num_requests_running",))
    return facts(url, **(left_out | {"models": models, "metrics": few} | changes))


GOOD = quick("http://a", metrics=metrics())
GONE = facts(
    "http://b",
    reach=reach(step=Step.CONNECT, error="cannot connect: Connection refused"),
    **NOTHING,
)


def diagnosed(*servers):
    return diagnose(servers[0].config, servers)


def test_lines(capsys):
    print_report(diagnosed(GOOD, GONE))
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith(
        "http://a: reachable; version: 0.32.0; models: m, n; metrics: num_requests_running, "
    )
    assert second == "http://b: unreachable: cannot connect: Connection refused"
    assert err == (
        "warning: 1 of 2 servers cannot be reached: http://b (cannot connect: Connection refused)\n"
    )


def test_a_server_without_known_facts(capsys):
    print_report(diagnosed(facts("http://a", **NOTHING)))
    line = "http://a: reachable; version: unknown; models: none; metrics: none\n"
    assert capsys.readouterr() == (line, "")


def test_escape_sequences_of_servers_do_not_reach_the_terminal(capsys):
    evil = Models(status=200, names=("\x1b]0;owned\x07",))
    print_report(diagnosed(quick("http://a", models=evil, entry={"models": ["x"]})))
    out, err = capsys.readouterr()
    assert "owned" in out
    assert "does not list x" in err
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param([GOOD, GOOD], [], id="fine"),
        pytest.param(
            [quick("http://a", reach=reach(status=503), metrics=metrics()), GOOD],
            ["http://a: /health returns 503"],
            id="problem",
        ),
        pytest.param(
            [quick("http://a", settings=SETTINGS, metrics=metrics()), GOOD],
            ["alias y: no server has its model z"],
            id="lost-alias",
        ),
        pytest.param(
            [quick("http://a", settings=SETTINGS, metrics=metrics()), GONE],
            ["1 of 2 servers cannot be reached: http://b (cannot connect: Connection refused)"],
            id="a-server-may-have-it",
        ),
        pytest.param(
            [quick("http://a", metrics=metrics(), version="0.1"), GOOD],
            ["different versions: 0.1: http://a; 0.32.0: http://a"],
            id="versions",
        ),
    ],
)
def test_warnings(servers, expected):
    assert warnings(diagnosed(*servers)) == expected


def test_a_table_and_progress_on_a_terminal(tmp_path):
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
    assert "checking 1 server" in text
    assert "http://[::1]:9" in text
    assert "│" in text
    assert "warning: 1 of 1 servers cannot be reached" in text


FOUND = NameCheck(url="http+dns://v:1", addresses=("10.0.0.1", "10.0.0.2"), problems=("odd",))
LOST = NameCheck(url="http+dns://w:1", addresses=(), problems=("it has no address",))


def test_names(capsys):
    print_report(diagnose(GOOD.config, [GOOD], [FOUND, LOST]))
    out, err = capsys.readouterr()
    assert out.startswith(
        "http+dns://v:1: addresses: 10.0.0.1, 10.0.0.2\n"
        "http+dns://w:1: addresses: none\n"
        "http://a: reachable;"
    )
    assert err == "warning: http+dns://v:1: odd\nwarning: http+dns://w:1: it has no address\n"


@pytest.mark.parametrize(("names", "warned"), [([FOUND], True), ([FOUND, LOST], False)])
def test_a_server_that_was_not_found_may_have_the_model_of_an_alias(names, warned):
    server = quick("http://a", settings=SETTINGS)
    said = warnings(diagnose(server.config, [server], names))
    assert any("alias y: no server has its model z" in line for line in said) is warned
