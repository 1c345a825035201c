import json

from fastroute.route.explain import Known, Settings, explain
from fastroute.route.report import as_json, lines
from fastroute.rules.server_state import ServerState
from tests.support.settings import settings_of

DEFAULTS = settings_of(Settings)
SERVERS = [
    Known(url="http://gpu-1:8000", models=("m",), foreign_load=2.5, in_flight=3),
    Known(url="http://gpu-2:8000", models=("m",), max_concurrent_requests=16, weight=2.0,
          note="load unknown, assumed to be 0: no response"),
    Known(url="http://gpu-3", models=("m",), state=ServerState.DOWN, reason="no \x1b[2J answer"),
]  # fmt: skip


def test_lines():
    assert lines(explain(SERVERS, "m", DEFAULTS)) == [
        "http://gpu-2:8000: the lowest score is taken (policy load)",
        "",
        "SERVER             CHANCE  SCORE  OWN  OTHERS     CAP",
        f"http://gpu-2:8000    100%   0.00    0       0  16 x 2  {SERVERS[1].note}",
        "http://gpu-1:8000      0%   0.69    3     2.5       8",
        "http://gpu-3            -      -    0       0       8  down: no \\u001b[2J answer",
    ]


def test_json():
    document = json.loads(
        as_json(explain(SERVERS, "alias", settings_of(Settings, aliases={"alias": "m"})))
    )
    assert document["model"] == "m"
    assert document["policy"] == "load"
    assert document["chosen"] == "http://gpu-2:8000"
    assert document["among"] == ["http://gpu-2:8000"]
    assert document["words"] == "http://gpu-2:8000: the lowest score is taken (policy load)"
    first, _, third = document["servers"]
    assert (first["url"], first["score"], first["chance"]) == ("http://gpu-1:8000", 0.6875, 0.0)
    assert (first["in_flight"], first["foreign_load"], first["state"]) == (3, 2.5, "up")
    assert (third["state"], third["left_out"][:4]) == ("down", "down")


def test_json_of_a_tie_and_of_no_server():
    tie = json.loads(as_json(explain([SERVERS[1], SERVERS[1]], "m", DEFAULTS)))
    assert (tie["chosen"], len(tie["among"])) == (None, 2)
    nobody = json.loads(as_json(explain(SERVERS, "x", DEFAULTS)))
    assert (nobody["chosen"], nobody["among"]) == (None, [])
