import pytest

from fastroute.doctor.facts import Models, Step
from fastroute.doctor.judge.fleet import judge_aliases, judge_versions
from tests.support.facts import facts, reach
from tests.support.judged import one, said


def fleet(*models, aliases, entries=({}, {})):
    """A configuration with aliases, and servers that list these models (None: not known)."""
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
            [("ok", "all 2 stand for models that are there")],
            id="there",
        ),
        pytest.param(
            fleet(("a",), ("b",), aliases={"x": "a", "y": "z", "v": "w"}),
            [
                ("error", "alias y stands for z, which no server has"),
                ("error", "alias v stands for w, which no server has"),
            ],
            id="lost",
        ),
        pytest.param(
            fleet(("a",), None, aliases={"y": "z"}),
            [("unknown", "the models of http://gpu-2 are not known, so it may have any")],
            id="a-server-may-have-it",
        ),
        pytest.param(
            fleet(("a",), None, aliases={"y": "z"}, entries=({}, {"models": ["z"]})),
            [("ok", "all 1 stand for models that are there")],
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
            ("warning", "servers differ: 1: http://gpu-0, http://gpu-2; 2: http://gpu-1"),
            id="skew",
        ),
        pytest.param(["1", None], ("unknown", "http://gpu-1 tells none"), id="silent"),
    ],
)
def test_versions(versions, expected):
    servers = [facts(f"http://gpu-{n}", version=version) for n, version in enumerate(versions)]
    assert one(judge_versions(servers[0].config, servers))[:2] == expected


def test_of_servers_that_are_not_there_no_version_is_missed():
    gone = facts(version=None, reach=reach(step=Step.CONNECT, error="refused"))
    assert judge_versions(gone.config, [gone]) == []
