"""Output for users and for scripts."""

import json

from fastroute.doctor.examine import diagnose
from fastroute.doctor.facts import Models, Step
from fastroute.doctor.report import as_json, lines
from tests.support.facts import facts, reach

GONE = facts(
    "http://gpu-2:8000",
    reach=reach(step=Step.CONNECT, error="cannot connect: Connection refused"),
    **dict.fromkeys(("version", "models", "metrics", "filtered", "keep_alive", "stream", "abort")),
)


def diagnosed(*servers):
    return diagnose(servers[0].config, servers)


def text(*servers, width=None) -> list[str]:
    return [line.plain for line in lines(diagnosed(*servers), width)]


def test_a_healthy_server():
    shown = text(facts())
    assert shown[0] == "http://gpu-1:8000: no problems"
    assert shown[1] == (
        "  ok       reachable   name resolved in 1.0ms, connected in 2.0ms, /health in 3.0ms"
    )
    assert shown[-1] == "verdict: no problems, 1 of 1 servers"


def test_a_server_with_errors():
    shown = text(facts(), GONE)
    at = shown.index("http://gpu-2:8000: errors found")
    assert shown[at + 1] == "  error    reachable   cannot connect: Connection refused"
    assert shown[at + 2].startswith(" " * 23 + "-> is vLLM running there")
    assert shown[-1] == "verdict: errors found: http://gpu-2:8000 (reachable)"


def test_a_warning_about_the_fleet():
    shown = text(facts(), facts("http://gpu-2:8000", version="0.31.0"))
    assert "all servers: works, with warnings" in shown
    assert shown[-1] == "verdict: works, with warnings: all servers (versions)"


def test_wrapped_to_the_width_of_a_terminal():
    shown = text(facts(), GONE, width=60)
    assert max(len(line) for line in shown[:-1]) <= 60
    whole = " ".join(" ".join(line.split()) for line in shown)
    assert "is vLLM running there, with --host 0.0.0.0 and this --port?" in whole


def test_escape_sequences_of_servers_do_not_reach_the_terminal():
    evil = facts(models=Models(status=200, names=("\x1b]0;owned\x07",)), version="[red]\x1b[2J")
    for width in (None, 80):
        shown = "".join(text(evil, width=width))
        assert "\x1b" not in shown
        assert "[red]" in shown


def test_json():
    document = json.loads(as_json(diagnosed(facts(entry={"api_key": "sekret"}), GONE)))
    assert document["verdict"] == "error"
    assert [server["verdict"] for server in document["servers"]] == ["ok", "error"]
    well, gone = document["servers"]
    assert well["url"] == "http://gpu-1:8000"
    assert well["measured"]["keep_alive"]["closed_after"] == 5.0
    assert len(well["measured"]["stream"]["events_at"]) == 32
    assert gone["findings"][0]["check"] == "reachable"
    assert gone["findings"][0]["severity"] == "error"
    assert gone["findings"][0]["words"] == "cannot connect: Connection refused"
    assert gone["findings"][0]["remedy"]
    assert [finding["check"] for finding in document["fleet"]] == ["versions"]


def test_json_holds_no_key():
    assert b"sekret" not in as_json(diagnosed(facts(entry={"api_key": "sekret"})))
