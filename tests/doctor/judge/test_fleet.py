import pytest

from fastroute.doctor.facts import Models, Step
from fastroute.doctor.judge.fleet import judge_aliases, judge_versions
from tests.support.facts import facts, reach
from tests.support.judged import one, said


def fleet(*models, aliases, entries=({}, {})):
    """Return a configuration with aliases, and servers that list these models (None: unknown)."""
    config = facts(settings={"aliases": aliases}).config
    servers = [
        facts(f"http://gpu-{number}", entry=entry, models=Models(names=names))
        for number, (names, entry) in enumerate(zip(models, entries, strict=True), 1)
    ]
    return config, servers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(fleet(("a",), ("b",), aliases={}), [], id="no-aliases"),
        pytest.param(
            fleet(("a",), ("b",), aliases={"x": "a", "y": "b"}),
            [("ok", "2 of 2 have a server with their model")],
            id="there",
        ),
        pytest.param(
            fleet(("a",), ("b",), aliases={"x": "a", "y": "z", "v": "w"}),
            [
                ("error", "alias y: no server has its model z"),
                ("error", "alias v: no server has its model w"),
            ],
            id="lost",
        ),
        pytest.param(
            fleet(("a",), None, aliases={"y": "z"}),
            [("unknown", "the models of http://gpu-2 are unknown; it may have any")],
            id="a-server-may-have-it",
        ),
        pytest.param(
            fleet(("a",), None, aliases={"y": "z"}, entries=({}, {"models": ["z"]})),
            [("ok", "1 of 1 have a server with their model")],
            id="pinned",
        ),
    ],
)
def test_aliases(arguments, expected):
    assert [each[:2] for each in said(judge_aliases(*arguments))] == expected


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param(["1", "1"], ("ok", "all run 1"), id="alike"),
        pytest.param(
            ["1", "2", "1"],
            ("warning", "different versions: 1: http://gpu-0, http://gpu-2; 2: http://gpu-1"),
            id="skew",
        ),
        pytest.param(["1", None], ("unknown", "not reported by http://gpu-1"), id="silent"),
    ],
)
def test_versions(versions, expected):
    servers = [facts(f"http://gpu-{n}", version=version) for n, version in enumerate(versions)]
    assert one(judge_versions(servers[0].config, servers))[:2] == expected


def test_unreachable_servers_need_no_version():
    gone = facts(version=None, reach=reach(step=Step.CONNECT, error="refused"))
    assert judge_versions(gone.config, [gone]) == []
