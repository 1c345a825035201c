from benchmarks.comparison import replies, traffic
from benchmarks.comparison.upstream import Script, Wanted, filtered, metrics_text
from fastroute.control.watch.scraper import OUR_METRICS
from fastroute.rules.load import is_filtered, parse_metrics


def answer(target: str, *, filters: bool = True) -> replies.Reply:
    script = Script(0.02, stamped=False, filters=filters)
    return replies.read_reply(script.own_answer(target.encode()))


def test_all_metrics_are_those_of_a_real_server():
    reply = answer("/metrics")
    assert reply.status == 200
    assert 60_000 < len(reply.body) < 70_000
    assert parse_metrics(reply.body).models == (traffic.MODEL,)


def test_the_filter_gives_the_same_load():
    reply = answer(OUR_METRICS)
    assert len(reply.body) < 5_000
    assert is_filtered(reply.body)
    assert parse_metrics(reply.body) == parse_metrics(metrics_text())


def test_a_server_may_not_filter():
    reply = answer(OUR_METRICS, filters=False)
    assert reply.body == metrics_text()
    assert not is_filtered(reply.body)


def test_what_vllm_gives_for_two_names():
    """The response in tests/captures/metrics_slash_name_filter.res."""
    names = {b"vllm:num_requests_running", b"vllm:num_requests_waiting"}
    lines = filtered(metrics_text(), names).splitlines()
    assert [line.split(b"{")[0].split(b" ")[:3] for line in lines] == [
        [b"#", b"HELP", b"vllm:num_requests_running"],
        [b"#", b"TYPE", b"vllm:num_requests_running"],
        [b"vllm:num_requests_running"],
        [b"#", b"HELP", b"vllm:num_requests_waiting"],
        [b"#", b"TYPE", b"vllm:num_requests_waiting"],
        [b"vllm:num_requests_waiting"],
    ]


def test_an_unknown_path_is_not_found():
    assert answer("/server_info").status == 404


def test_a_body_says_what_is_wanted_and_is_checked():
    body = traffic.chat_request(1024, events=5)
    assert (Wanted(body).events, Wanted(body).refusal) == (5, b"")
    assert b"not the one" in Wanted(body.replace(b"quick", b"quiet", 1)).refusal
    assert b"unusable" in Wanted(b"{}").refusal
