"""The compiled hot path: it is there when the run says so, and answers as the sources do."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_build import MODULES
from tests.support.bodies import CORPUS, FORM, JSON, ROOT, Question, answer

COMPILED = os.environ.get("FASTROUTE_COMPILED") == "1"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_what_the_run_says(name):
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(".so") is COMPILED


def test_processes_are_what_the_run_says(tmp_path):
    """Also outside the tests' own process: routers are started from other directories, too."""
    code = "import fastroute.proxy.exchange; print(fastroute.proxy.exchange.__file__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(".so") is COMPILED


class PureBuild:
    """The same answers from a process in which nothing of ours is compiled."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.bodies"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def answer(self, question: Question) -> tuple[str | None, str]:
        content_type, body = question
        print(content_type.hex(), body.hex(), file=self.process.stdin, flush=True)
        model, replaced = json.loads(self.process.stdout.readline())
        return model, replaced

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(name="pure", scope="module")
def pure_fixture():
    build = PureBuild()
    yield build
    build.close()


KEYS = st.sampled_from(["model", "x", "mod\\u0065l", '"model"', "\u00e9"])
VALUES = st.recursive(
    st.none()
    | st.integers(0, 99)
    | st.sampled_from(["m", "", '"model":"x"', "\\", "\u00e9", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
SCRAPS = st.sampled_from([b"", b",", b'"', b"\\", b"{", b"}", b"]", b":", b" ", b"\xff", b"NaN"])


@st.composite
def nearly_json(draw):
    """An object with a bit of it exchanged for another."""
    value = {**draw(st.dictionaries(KEYS, VALUES, max_size=3)), "model": draw(VALUES)}
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    start = draw(st.integers(0, len(body)))
    stop = start + draw(st.integers(0, 3))
    return body[:start] + draw(SCRAPS) + body[stop:]


class TestAnswers:
    """Both builds read the same in every request."""

    @pytest.mark.parametrize("question", CORPUS.values(), ids=CORPUS)
    def test_to_one_of_each_kind(self, pure, question):
        assert answer(question) == pure.answer(question)

    @settings(deadline=None, max_examples=500)
    @given(body=nearly_json() | st.binary(max_size=40), content_type=st.sampled_from([JSON, FORM]))
    def test_to_anything(self, pure, body, content_type):
        assert answer((content_type, body)) == pure.answer((content_type, body))

    def test_are_from_the_other_build(self, pure):
        """Or nothing would be compared: a compiled module would be mapped into memory."""
        assert pure.answer((JSON, b'{"model":"m"}'))[0] == "m"
        maps = Path(f"/proc/{pure.process.pid}/maps").read_text()
        assert str(ROOT / "fastroute") not in maps
