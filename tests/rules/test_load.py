"""Metrics texts give the load that is in them, or are refused; the foreign load follows from it."""

import math
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fastroute.rules.load import (
    FROZEN_AFTER,
    MAX_METRICS_BYTES,
    MAX_MODELS,
    MAX_REQUESTS,
    MAX_SAMPLE_BYTES,
    MAX_SAMPLES,
    NAMES,
    BadMetrics,
    ForeignLoad,
    LoadReport,
    foreign_load,
    is_filtered,
    parse_metrics,
)
from tests.support.hostile_server import other_labels, samples

TESTS = Path(__file__).parent.parent
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
BOTH = f"{RUNNING} 1\n{WAITING} 2\n"


def captured(name: str) -> bytes:
    head, _, body = (TESTS / "captures" / f"{name}.res").read_bytes().partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        size, _, rest = body.partition(b"\r\n")
        body = rest[: int(size, 16)]
    return body


def written(name: str) -> bytes:
    return (TESTS / "data" / "metrics" / f"{name}.txt").read_bytes()


IDLE = LoadReport(
    running=0, waiting=0, kv_cache_usage=0.0, generation_tokens=0, prompt_tokens=0,
    prefix_queries=0, prefix_hits=0, preemptions=0, models=("tiny",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(captured("get_metrics_idle"), IDLE, id="idle"),
        pytest.param(captured("get_metrics_slash"), IDLE, id="idle-slash"),
        pytest.param(
            captured("get_metrics_one_stream"),
            LoadReport(
                running=1, waiting=0, kv_cache_usage=0.00036623329060614385,
                generation_tokens=14498, prompt_tokens=207, prefix_queries=207, prefix_hits=0,
                preemptions=0, models=("tiny",),
            ),
            id="one-stream",
        ),
        pytest.param(
            written("overload"),
            LoadReport(
                running=16, waiting=14, kv_cache_usage=0.0009766221082829762,
                generation_tokens=15201, prompt_tokens=661, prefix_queries=661, prefix_hits=0,
                preemptions=0, models=("tiny",),
            ),
            id="overload",
        ),
        pytest.param(
            written("kv_full"),
            LoadReport(
                running=7, waiting=1, kv_cache_usage=0.984375, generation_tokens=8088,
                prompt_tokens=276, prefix_queries=276, prefix_hits=0, preemptions=0,
                models=("tiny",),
            ),
            id="kv-full",
        ),
        pytest.param(
            captured("metrics_slash_name_filter"),
            LoadReport(running=0, waiting=0, models=("tiny",)),
            id="filtered-to-two-names",
        ),
        pytest.param(
            written("old_names"),
            LoadReport(
                running=3, waiting=2, kv_cache_usage=0.25, generation_tokens=1_500_000,
                prefix_queries=1000, prefix_hits=896, models=("llama",),
            ),
            id="old-names",
        ),
        pytest.param(
            written("engines"),
            LoadReport(
                running=7, waiting=5, kv_cache_usage=0.75, generation_tokens=60, asleep=True,
                models=("big", "tiny"),
            ),
            id="engines-and-models-are-added",
        ),
        pytest.param(
            BOTH.encode() + b"vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\n",
            LoadReport(running=1, waiting=2, kv_cache_usage=0.25),
            id="newer-name-counts",
        ),
    ],
)  # fmt: skip
def test_report(text, expected):
    assert parse_metrics(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BOTH, id="no-labels"),
        pytest.param(f"{RUNNING}{{}} 1\n{WAITING}{{ }} 2\n", id="empty-labels"),
        pytest.param(f'{RUNNING}{{a="b",}} 1\n{WAITING} {{ a = "b" , c="d" }} 2\n', id="blanks"),
        pytest.param(f'{RUNNING}{{a="b"}}1\n{WAITING}{{a="b"}}\t2\n', id="tab-or-none"),
        pytest.param(f"  {RUNNING} 1  \n\t{WAITING} 2\t\n", id="blanks-around"),
        pytest.param(f"{RUNNING} 1\r\n{WAITING} 2\r\n", id="crlf"),
        pytest.param(f"\n\n{RUNNING} 1\n\n{WAITING} 2\n\n", id="blank-lines"),
        pytest.param(f"{RUNNING} 1 1700000000000\n{WAITING} 2 -1\n", id="time-stamps"),
        pytest.param(f"{RUNNING} 1.0E+0\n{WAITING} +.2e1\n", id="exponents"),
        pytest.param(f"{RUNNING} 1\n{WAITING}_by_reason 9\n{WAITING} 2\n", id="by-reason"),
        pytest.param(f"{RUNNING} 1\n{WAITING}:rate 9\n{WAITING} 2\n", id="recorded-name"),
        pytest.param(f"# {RUNNING} 9\n#{WAITING} 9\n{BOTH}", id="comments"),
        pytest.param(f"x{RUNNING} 9\nx {WAITING} 9\n{BOTH}", id="not-at-the-start"),
        pytest.param(f'{BOTH}x{{a="{RUNNING} 9"}} 9\n', id="name-in-a-label"),
        pytest.param(f'{RUNNING}{{a="}} 9"}} 1\n{WAITING}{{a="\\"}} 9"}} 2\n', id="braces-quoted"),
        pytest.param(f"{BOTH}vllm:kv_cache_usage_perc NaN\n", id="optional-not-a-number"),
        pytest.param(f"{BOTH}vllm:generation_tokens_total +Inf\n", id="optional-infinite"),
        pytest.param(f"{BOTH}vllm:num_preemptions_total -1\n", id="optional-negative"),
        pytest.param(f"{BOTH}vllm:prompt_tokens_total 1e300\n", id="optional-too-large"),
        pytest.param(f"{BOTH}vllm:kv_cache_usage_perc x\n", id="optional-malformed"),
        pytest.param(f"{BOTH}vllm:kv_cache_usage_perc\n", id="optional-no-value"),
        pytest.param(
            f'{BOTH}vllm:kv_cache_usage_perc{{e="0"}} x\nvllm:kv_cache_usage_perc{{e="1"}} 0.5\n',
            id="optional-one-engine-of-two",
        ),
        pytest.param(
            f"{BOTH}vllm:kv_cache_usage_perc x\nvllm:gpu_cache_usage_perc 0.5\n",
            id="optional-older-name-too",
        ),
        pytest.param(f"{BOTH}vllm:prompt_tokens_total 1{'0' * 5000}\n", id="optional-too-long"),
        pytest.param(f"{BOTH}vllm:engine_sleep_state{{x}} 0\n", id="sleep-malformed"),
        pytest.param(f"{BOTH}other{{ x\nvllm:other{{a=1}} x x x\n\xff\xfe\0 1\n", id="others"),
        pytest.param(BOTH[:-1], id="no-line-feed-at-the-end"),
        pytest.param(f"{BOTH}# EOF\n", id="eof"),
        pytest.param(f"{BOTH}# EOF", id="eof-no-line-feed"),
        pytest.param(f"{RUNNING} 1 1700000000.25\n{WAITING} 2 -1.5e3\n", id="float-time-stamps"),
        pytest.param(
            f'{RUNNING}{{a="b"}} 1 1700000000.25\n{WAITING}{{a="b"}} 2.0 1.7e9\n',
            id="float-time-stamps-after-labels",
        ),
        pytest.param(
            f'{RUNNING}{{a="b"}} 1 # {{trace_id="c"}} 0.67\n{WAITING} 2 # {{}} 1 1700000000.25\n',
            id="exemplars",
        ),
        pytest.param(
            f'{RUNNING} 1 17.5 # {{trace_id="}} 9"}} 6 17\n{WAITING}{{a="b"}} 2 # {{ 9\n',
            id="exemplars-odd",
        ),
    ],
)
def test_forms_that_say_one_and_two(text):
    assert parse_metrics(text.encode()) == LoadReport(running=1, waiting=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(f"{RUNNING} 1\n", f"{WAITING} is missing", id="no-waiting"),
        pytest.param(f"{WAITING} 1\n", f"{RUNNING} is missing", id="no-running"),
        pytest.param(f"{RUNNING} 1\n{WAITING}_by_reason 1\n", "is missing", id="only-by-reason"),
        pytest.param("python_info 1.0\n", "is missing", id="another-program"),
        pytest.param("<html>\n</html>\n", "is missing", id="html"),
        pytest.param('{"detail":"Not Found"}\n', "is missing", id="json"),
        pytest.param(f"{RUNNING} NaN\n{WAITING} 0\n", "is nan", id="not-a-number"),
        pytest.param(f"{RUNNING} 0\n{WAITING} -1\n", "is -1", id="negative"),
        pytest.param(f"{RUNNING} +Inf\n{WAITING} 0\n", "is inf", id="infinite"),
        pytest.param(f"{RUNNING} 1e400\n{WAITING} 0\n", "is inf", id="beyond-floats"),
        pytest.param(f"{RUNNING} 1e10\n{WAITING} 0\n", "is 1e", id="too-many"),
        pytest.param(f"{BOTH}{RUNNING}{{e=\"1\"}} NaN\n", "is nan", id="one-engine-of-two"),
        pytest.param(f"{BOTH}{RUNNING}\n", "is malformed", id="no-value"),
        pytest.param(f"{BOTH}{RUNNING}{{e=\"1\"}}\n", "is malformed", id="labels-no-value"),
        pytest.param(f"{BOTH}{RUNNING}{{e=\"1\" 3\n", "is malformed", id="labels-not-closed"),
        pytest.param(f"{BOTH}{RUNNING}{{e=1}} 3\n", "is malformed", id="label-not-quoted"),
        pytest.param(f"{BOTH}{RUNNING}{{e=\"}} 3\n", "is malformed", id="quote-not-closed"),
        pytest.param(f"{BOTH}{RUNNING}{{e=\"1\"f=\"2\"}} 3\n", "is malformed", id="no-comma"),
        pytest.param(f"{BOTH}{RUNNING} 3 x\n", "is malformed", id="more-after-the-value"),
        pytest.param(f"{BOTH}{RUNNING} 1_0\n", "is malformed", id="python-number"),
        pytest.param(f"{BOTH}{RUNNING} 0x10\n", "is malformed", id="hexadecimal"),
        pytest.param(f"{BOTH}{RUNNING}}} 3\n", "is malformed", id="stray-brace"),
        pytest.param(f"{BOTH}{RUNNING} 3 1.5.2\n", "is malformed", id="not-a-time-stamp"),
        pytest.param(f"{BOTH}{RUNNING} 3# {{}} 1\n", "is malformed", id="exemplar-no-blank"),
        pytest.param(f"{BOTH}{RUNNING} # {{}} 1\n", "is malformed", id="exemplar-no-value"),
    ],
)  # fmt: skip
def test_refused(text, message):
    with pytest.raises(BadMetrics, match=message):
        parse_metrics(text.encode())


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        pytest.param(BOTH, True, id="line-feed"),
        pytest.param(BOTH + "# EOF", True, id="eof"),
        pytest.param(BOTH + "# EO", False, id="eof-truncated"),
        pytest.param(BOTH[:-1], False, id="no-line-feed"),
    ],
)
def test_a_text_that_only_the_end_of_its_connection_ended(text, is_whole):
    """Whether `1` was `16` cannot be told then; elsewhere HTTP tells."""
    if is_whole:
        assert parse_metrics(text.encode(), ends_with_connection=True).waiting == 2
    else:
        with pytest.raises(BadMetrics, match="truncated"):
            parse_metrics(text.encode(), ends_with_connection=True)


@pytest.mark.parametrize(
    ("awake", "expected"),
    [
        pytest.param(["1.0"], False, id="awake"),
        pytest.param(["0.0"], True, id="asleep-whatever-the-level"),
        pytest.param(["1.0", "0.0"], True, id="one-engine-of-two"),
        pytest.param([], False, id="not-told"),
    ],
)
def test_sleep(awake, expected):
    """After POST /sleep?level=0 all three states of vLLM 0.32 are 0."""
    lines = "".join(
        f'vllm:engine_sleep_state{{engine="{engine}",sleep_state="awake"}} {value}\n'
        f'vllm:engine_sleep_state{{engine="{engine}",sleep_state="discard_all"}} 0.0\n'
        for engine, value in enumerate(awake)
    )
    assert parse_metrics((BOTH + lines).encode()).asleep is expected


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("get_metrics_idle", id="idle"),
        pytest.param("metrics_name_filter", id="names-ignored"),
        pytest.param("v_nokey_metrics", id="other-flags"),
    ],
)
def test_all_is_not_filtered(name):
    assert not is_filtered(captured(name))


def test_what_was_asked_for_is_filtered():
    lines = captured("get_metrics_one_stream").splitlines(keepends=True)
    ours = b"".join(line for line in lines if any(name.encode() in line for name in NAMES))
    assert is_filtered(ours)
    assert is_filtered(captured("metrics_slash_name_filter"))


@pytest.mark.alone
def test_a_large_text_takes_no_time():
    """64 KB in under 2 ms: 100 servers' worth each second must not keep a core busy."""
    text = captured("get_metrics_one_stream")
    text += b"".join(b"# more\n" for _ in range((65536 - len(text)) // 7))
    fastest = math.inf
    for _ in range(10):
        began = time.perf_counter()
        parse_metrics(text)
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.002


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(RUNNING + '{a="' + "\\" * 100_001, id="backslashes"),
        pytest.param(RUNNING + "{" + 'a="b",' * 20_000 + "!", id="labels"),
        pytest.param(RUNNING + " " * 100_000 + "!", id="blanks"),
        pytest.param(RUNNING + " " + "1" * 100_000 + "!", id="digits"),
        pytest.param(f"{RUNNING} 1" + " 1" * 50_000, id="numbers"),
        pytest.param(("\t" * 1000 + "\n") * 100 + RUNNING, id="lines-of-blanks"),
    ],
)
@pytest.mark.alone
def test_no_text_takes_long(line):
    began = time.perf_counter()
    with pytest.raises(BadMetrics):
        parse_metrics(f"{BOTH}{line}\n".encode())
    assert time.perf_counter() - began < 0.5


class TestLimits:
    """Samples of 8 MB, with other labels each time, took a supervisor's CPU and memory."""

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            pytest.param(b"#" * MAX_METRICS_BYTES + b"\n", "longer than 4194304", id="text"),
            pytest.param(samples(MAX_SAMPLES + 1), "more than 20000 samples", id="samples"),
            pytest.param(
                b'vllm:num_requests_running{a="%b"} 1\n' % (b"x" * MAX_SAMPLE_BYTES),
                "a line of vllm:num_requests_running is longer than 4096",
                id="labels",
            ),
            pytest.param(
                b"vllm:num_requests_running 1" + b"0" * MAX_SAMPLE_BYTES + b"\n",
                "a line of vllm:num_requests_running is longer than 4096",
                id="number",
            ),
        ],
    )
    def test_beyond(self, text, reason):
        with pytest.raises(BadMetrics, match=reason):
            parse_metrics(text)

    def test_all_but_one(self):
        assert parse_metrics(samples(MAX_SAMPLES - 1)).running == 0

    def test_names_of_models(self):
        lines = [b'vllm:num_requests_running{model_name="%d"} 1\n' % n for n in range(5000)]
        report = parse_metrics(b"".join([*lines, b"vllm:num_requests_waiting 0\n"]))
        assert (report.running, len(report.models)) == (5000, MAX_MODELS)

    @pytest.mark.parametrize("length", [10, 400, 4000])
    def test_what_is_remembered_of_labels(self, length):
        """It was kept by number, not by size, and with all labels as a dictionary."""
        bodies = other_labels(900, length)
        parse_metrics(bodies())
        tracemalloc.start()
        try:
            for _ in range(5):
                parse_metrics(bodies())
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert kept < 8 << 20


# Texts as a server may write them, against the parser of prometheus_client.

LABEL_VALUES = st.text(st.characters(codec="utf-8"), max_size=12)
COUNTS = st.integers(0, 10_000)


def quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: int) -> st.SearchStrategy[str]:
    return st.sampled_from([str(value), f"{value}.0", f"{value:.6e}", f"+{value}", f"{value}."])


@st.composite
def sample_lines(draw, name, by_engine):
    lines = []
    for (engine, model), value in by_engine.items():
        labels = [("engine", engine), ("model_name", model), ("zone", draw(LABEL_VALUES))]
        inside = ",".join(f'{key}="{quoted(text)}"' for key, text in draw(st.permutations(labels)))
        comma = draw(st.sampled_from(["", ","]))
        lines.append(f"{name}{{{inside}{comma}}} {draw(number(value))}")
    return lines


@st.composite
def metrics_texts(draw):
    """A text, and what is running, waiting and generated in it, and the models."""
    keys = st.tuples(st.sampled_from(["0", "1", "2"]), LABEL_VALUES)
    running = draw(st.dictionaries(keys, COUNTS, min_size=1, max_size=6))
    waiting = {key: draw(COUNTS) for key in running}
    tokens = {key: draw(COUNTS) for key in running}
    lines = [
        *draw(sample_lines(RUNNING, running)),
        *draw(sample_lines(WAITING, waiting)),
        *draw(sample_lines(f"{WAITING}_by_reason", waiting)),
        *draw(sample_lines("vllm:generation_tokens_total", tokens)),
        f"# HELP {RUNNING} {RUNNING} 7",
        "python_info 1.0",
        "",
    ]
    text = draw(st.sampled_from(["\n", "\r\n"])).join([*draw(st.permutations(lines)), ""])
    sums = [sum(each.values()) for each in (running, waiting, tokens)]
    return text, sums, {model for _, model in running}


@settings(deadline=None)  # the machine may be busy
@given(metrics_texts())
def test_any_order_labels_and_escapes(case):
    text, (running, waiting, tokens), models = case
    report = parse_metrics(text.encode())
    assert (report.running, report.waiting, report.generation_tokens) == (running, waiting, tokens)
    assert report.models == tuple(sorted(models - {""}))


@settings(deadline=None)  # the machine may be busy
@given(metrics_texts())
def test_the_reference_parser_agrees(case):
    text, (running, waiting, _), _ = case
    found = {RUNNING: 0.0, WAITING: 0.0}
    for family in text_string_to_metric_families(text.replace("\r\n", "\n")):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name] += sample.value
    assert found == {RUNNING: running, WAITING: waiting}


@settings(deadline=None)  # the machine may be busy
@given(metrics_texts(), st.data())
def test_cut_anywhere_it_is_refused_or_whole_lines_are_missing(case, data):
    text = case[0].encode()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    if cut.endswith(b"\n"):
        return  # Looks whole; HTTP tells.
    with pytest.raises(BadMetrics):
        parse_metrics(cut, ends_with_connection=True)


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
@example(b"\xff\xfe\n")
@example(f'{RUNNING}{{model_name="\xff"}} 1\n{WAITING} 1\n'.encode("latin-1"))
def test_garbage_is_refused_or_read_but_never_crashes(garbage):
    for text in (garbage, BOTH.encode() + garbage, f"{RUNNING}".encode() + garbage + b"\n"):
        try:
            report = parse_metrics(text)
        except BadMetrics:
            continue
        assert 0 <= report.running <= MAX_REQUESTS


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from([*NAMES, "{", "}", '"', "\\", ",", "=", " ", "\n", "1", "NaN", "#",
                                 "a", "-", "e", ".", "\r"])))  # fmt: skip
def test_near_metrics_never_crash(pieces):
    try:
        report = parse_metrics("".join(pieces).encode())
    except BadMetrics:
        return
    assert 0 <= report.waiting <= MAX_REQUESTS


# The foreign load.


@pytest.mark.parametrize(
    ("running", "waiting", "weight", "own", "expected"),
    [
        pytest.param(0, 0, 0.5, 0, 0.0, id="idle"),
        pytest.param(6, 0, 0.5, 6, 0.0, id="all-ours"),
        pytest.param(6, 4, 0.5, 2, 6.0, id="others-run-and-wait"),
        pytest.param(6, 4, 0.0, 2, 4.0, id="waiting-does-not-count"),
        pytest.param(16, 32, 0.5, 48, 0.0, id="ours-wait-never-negative"),
        pytest.param(1, 1, 0.5, 0, 1.5, id="fractions"),
    ],
)
def test_foreign_load(running, waiting, weight, own, expected):
    assert foreign_load(running, waiting, weight, own) == expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        pytest.param(0.0, 8.0, id="fresh"),
        pytest.param(6.0, 8.0, id="three-intervals"),
        pytest.param(8.0, 4.0, id="four"),
        pytest.param(12.0, 1.0, id="six"),
        pytest.param(1e12, 0.0, id="forgotten"),
    ],
)
def test_an_old_report_counts_less_and_less(age, expected):
    foreign = ForeignLoad()
    foreign.note_report(LoadReport(running=8, waiting=0), 0.5, 0)
    assert foreign.worth(age, 2.0) == expected


BUSY = LoadReport(running=8, waiting=0, generation_tokens=5, prompt_tokens=7)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [8, 4, 2, 1], id="frozen"),
        pytest.param({"generation_tokens": None}, [8, 4, 2, 1], id="one-counter-will-do"),
        pytest.param(
            {"generation_tokens": None, "prompt_tokens": None}, [8, 8, 8, 8], id="no-counters"
        ),
    ],
)
def test_a_load_whose_numbers_stand_still_is_none(changes, expected):
    report = msgspec.structs.replace(BUSY, **changes)
    foreign = ForeignLoad()
    for _ in range(FROZEN_AFTER):
        assert foreign.note_report(report, 0.5, 0) == 8
    loads = []
    for _ in expected:
        loads.append(foreign.note_report(report, 0.5, 0))
        assert foreign.worth(0.0, 1.0) == loads[-1]
    assert loads == expected


@pytest.mark.parametrize(
    "moved",
    [{"generation_tokens": 6}, {"prompt_tokens": 8}, {"running": 7}, {"kv_cache_usage": 0.5}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_load_that_moves_again_counts(moved):
    foreign = ForeignLoad()
    for _ in range(100):
        foreign.note_report(BUSY, 0.5, 0)
    assert foreign.worth(0.0, 1.0) < 1e-9
    report = msgspec.structs.replace(BUSY, **moved)
    assert foreign.note_report(report, 0.5, 0) == report.running
