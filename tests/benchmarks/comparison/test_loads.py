"""The load generators detect errors: real sockets, and servers that misbehave."""

import asyncio
import functools
import os

import pytest

from benchmarks.comparison import measuring, traffic
from benchmarks.comparison.json_load import ClosedLoad, PacedLoad
from benchmarks.comparison.many_load import ManyLoad
from benchmarks.comparison.spec import LoadSpec
from benchmarks.comparison.stage import Cores, Stage
from benchmarks.comparison.stream_load import StreamLoad
from benchmarks.comparison.upstream import JSON_REPLY, Script, ServerConnection

RIGHT = JSON_REPLY


def spec(kind, port, **fields) -> LoadSpec:
    values = {
        "kind": kind,
        "ports": (port,),
        "connections": 4,
        "request_bytes": 1024,
        "warmup": 0.05,
        "seconds": 0.3,
        "watched": {"servers": os.getpid()},
    }
    return LoadSpec(**(values | fields))


async def answering(reply, run, delay=lambda number: 0.0):
    """Run a load against a server that always sends `reply`; return its result."""
    asked = 0
    writers = []

    async def serve(reader, writer):
        nonlocal asked
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(traffic.HEAD_END)
                await reader.readexactly(traffic.content_length(head[:-2]))
                asked += 1
                await asyncio.sleep(delay(asked))
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        result = await run(server.sockets[0].getsockname()[1])
        # The loop may end before it has seen the close of the load's connections.
        for writer in writers:
            writer.transport.abort()
        return result


def closed(port):
    return ClosedLoad(spec("closed", port)).run()


async def test_right_answers_are_counted():
    result = await answering(RIGHT, closed)
    assert result.errors == {}
    assert 0 < result.units <= result.checked


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(RIGHT[:-1] + b"!", "other bytes", id="a-byte-changed"),
        pytest.param(RIGHT.replace(b"200 OK", b"503 No"), "status 503", id="status"),
        pytest.param(RIGHT + b"x", "nobody asked for", id="too-much"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", "without Content-Length", id="no-length"),
    ],
)
async def test_wrong_answers_are_errors(reply, reason):
    result = await answering(reply, closed)
    assert any(reason in each for each in result.errors)
    assert result.units == 0


async def test_a_stall_is_charged_to_all_that_had_to_wait():
    """One response in 100 takes 0.2 s; all behind it on the connection wait (no omission)."""
    run = functools.partial(spec, "paced", rate=200.0, connections=1, seconds=0.5)
    result = await answering(
        RIGHT, lambda port: PacedLoad(run(port)).run(), lambda number: 0.2 * (number == 30)
    )
    assert result.errors == {}
    # Without the queueing only one of a hundred would be slow, but not the median.
    assert result.latencies["p99"] > 0.15
    assert result.latencies["p50"] < result.latencies["p99"]


def script(**changes) -> Script:
    made = Script(changes.pop("tick", 0.02), stamped=changes.pop("stamped", False), filters=True)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def streaming(load, made: Script, **fields):
    loop = asyncio.get_running_loop()
    connections = []

    def accepted() -> ServerConnection:
        connections.append(ServerConnection(made))
        return connections[-1]

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await load(spec("streams", port, **fields)).run()
        for connection in connections:
            connection.transport.abort()
        return result


async def test_whole_streams_are_right():
    result = await streaming(StreamLoad, script(), tick=0.02)
    assert result.errors == {}
    assert result.checked == 4
    assert result.units > 0


async def test_a_stream_with_a_changed_event_is_an_error():
    made = script()
    made.chunks(1000)[7] = traffic.chunk(traffic.sse_event(8))
    result = await streaming(StreamLoad, made, tick=0.02)
    assert result.errors == {"a body of the right length but with other bytes": 4}


async def test_many_streams():
    result = await streaming(
        ManyLoad, script(stamped=True), tick=0.02, connections=40, first_connections=10
    )
    assert result.errors == {}
    assert [count for count, _ in result.resident_steps] == [0, 10, 40]
    assert 0 < result.latencies["p50"] <= result.latencies["p99"] < 1.0


async def test_events_that_do_not_come_are_missed():
    """The servers send a tenth of what they should."""
    result = await streaming(ManyLoad, script(stamped=True, tick=0.2), tick=0.02)
    assert sum(result.errors.values()) == 4
    assert all("events missing" in reason for reason in result.errors)


async def test_events_that_are_changed_on_the_way_are_errors():
    made = script(stamped=True)
    made.chunks(600)[3] = made.chunks(600)[4]
    result = await streaming(ManyLoad, made, tick=0.02)
    assert result.errors == {"other bytes than were sent": 4}


def test_a_load_that_fails_is_a_result(tmp_path):
    """The body is too short for its headers: the load process exits with a traceback."""
    cores = Cores.chosen(pinned=False)
    failed = measuring.run_load(spec("closed", 1, request_bytes=10), cores)
    assert failed.units == 0
    assert failed.errors == {"the load process failed: RuntimeError": 1}


def test_the_stand_in_servers_end_with_their_block(tmp_path):
    stage = Stage(tmp_path, Cores.chosen(pinned=False))
    with stage.servers(count=2) as servers:
        assert len(servers.ports) == 2
        pid = servers.watched["servers"]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
