"""Cost of the whole data plane in user space: an event, a request with its response."""

from benchmarks.comparison import traffic, upstream

EVENT = traffic.chunk(traffic.sse_event(0))
JSON_REQUEST = traffic.chat_request(1024)
STREAM_REQUEST = traffic.chat_request(1024, events=1000)


def test_relay_of_one_event(benchmark, make_worker):
    worker = make_worker(4)
    stream = worker.ask(STREAM_REQUEST)
    stream.data_received(upstream.STREAM_HEAD)
    client = worker.client_transport
    before = client.writes
    stream.data_received(EVENT)
    assert client.writes == before + 1, "an event is one write"
    benchmark(stream.data_received, EVENT)
    assert client.written == EVENT


def test_json_request_and_reply(benchmark, make_worker):
    worker = make_worker(4)
    head = traffic.request_head("127.0.0.1:8888", JSON_REQUEST)
    request = head + JSON_REQUEST
    state = worker.state
    waiting = list(worker.upstreams.values())  # by row

    def relay() -> None:
        worker.client.data_received(request)
        in_flight = state.cells.in_flight
        # The policy chooses any of the four at random; this one has the request.
        server = next(one for one in state.router.servers if in_flight[one.row])
        waiting[server.row].data_received(upstream.JSON_REPLY)

    benchmark(relay)
    assert worker.client_transport.written.endswith(traffic.chat_reply())
    assert not any(state.cells.in_flight[server.row] for server in state.router.servers)
