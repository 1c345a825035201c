"""Each endpoint responds as vLLM 0.32 does."""

import asyncio
import hashlib

import pytest

from fastroute.standin.engine import Mode
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import until


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        pytest.param(get("/health"), 200, b"", id="health"),
        pytest.param(get("/ping"), 200, b"", id="ping"),
        pytest.param(post("/ping", b""), 200, b"", id="post-ping"),
        pytest.param(get("/version"), 200, b'{"version":"0.32.0"}', id="version"),
        pytest.param(get("/nope"), 404, b'{"detail":"Not Found"}', id="unknown-path"),
        pytest.param(get("//health"), 404, b'{"detail":"Not Found"}', id="double-slash"),
        pytest.param(post("/v1/embeddings", {}), 404, b'{"detail":"Not Found"}', id="embeddings"),
        pytest.param(
            get("/v1/chat/completions"), 405, b'{"detail":"Method Not Allowed"}', id="get-chat"
        ),
        pytest.param(post("/health", {}), 405, b'{"detail":"Method Not Allowed"}', id="post-get"),
        pytest.param(
            get("/v1/chat/completions", "OPTIONS"),
            405,
            b'{"detail":"Method Not Allowed"}',
            id="options",
        ),
    ],
)
async def test_simple_answers(server, request_, status, body):
    answer = await ask(server.port, request_)
    assert (answer.status, answer.body) == (status, body)
    assert answer["content-length"] == str(len(body))
    assert ("content-type" in dict(answer.fields)) == bool(body)


@pytest.mark.parametrize(
    ("request_", "status", "type_", "param"),
    [
        pytest.param(
            post("/v1/chat/completions", b'{"model": "tiny", "messages": ['),
            400,
            "Bad Request",
            "body",
            id="malformed",
        ),
        pytest.param(
            post("/v1/chat/completions", b""), 400, "Bad Request", "body", id="empty-body"
        ),
        pytest.param(post("/v1/chat/completions", []), 400, "Bad Request", "body", id="array"),
        pytest.param(
            post("/v1/chat/completions", {"model": "tiny"}),
            400,
            "Bad Request",
            "body.messages",
            id="no-messages",
        ),
        pytest.param(
            post("/v1/completions", {"model": "tiny"}),
            400,
            "Bad Request",
            "body.prompt",
            id="no-prompt",
        ),
        pytest.param(chat(max_tokens="x"), 400, "Bad Request", "body.max_tokens", id="wrong-type"),
        pytest.param(
            chat(fields="Content-Type: text/plain\r\n"),
            400,
            "Bad Request",
            None,
            id="wrong-content-type",
        ),
        pytest.param(chat(model="nosuch"), 404, "NotFoundError", "model", id="unknown-model"),
        pytest.param(chat(model="nosuch", stream=True), 404, "NotFoundError", "model", id="stream"),
    ],
)
async def test_rejected_generations(server, request_, status, type_, param):
    answer = await ask(server.port, request_)
    assert answer.status == status
    assert answer["content-type"] == "application/json"
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["param"], error["code"]) == (type_, param, status)


async def test_unknown_model_names_the_valid_ones(server):
    server.settings.models = ("tiny", "other")
    error = (await ask(server.port, chat(model="nosuch"))).json()["error"]
    assert error["message"] == "The model `nosuch` does not exist. Valid aliases: tiny, other."


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no-model"),
        pytest.param({"unheard_of": 1, "temperature": 0.3}, id="unknown-fields"),
        pytest.param({"max_completion_tokens": 2, "max_tokens": None}, id="nulls"),
    ],
)
async def test_accepted_generations(server, body):
    answer = await ask(server.port, chat(**body))
    assert answer.status == 200
    assert answer.json()["model"] == "tiny"


async def test_default_length_is_16(server):
    answer = await ask(server.port, post("/v1/completions", {"prompt": "a"}))
    assert answer.json()["usage"]["completion_tokens"] == 16


async def test_request_id_becomes_the_id(server):
    answer = await ask(server.port, chat(fields="X-Request-Id: my-req-42\r\n"))
    assert answer.json()["id"] == "chatcmpl-my-req-42"


async def test_an_overloaded_server_rejects_requests(server):
    server.settings.max_queued = 1
    async with client(server.port) as connection:
        connection.send(chat(standin={"ttft": 60}))
        await until(lambda: server.engine.running == 1)
        answer = await ask(server.port, chat(stream=True))
        assert (await ask(server.port, get("/health"))).status == 200
    assert answer.status == 503
    assert answer.json()["error"]["type"] == "Service Unavailable"
    assert "retry-after" not in dict(answer.fields)
    assert server.engine.refused == 1


async def test_models(server):
    server.settings.models = ("tiny", "other")
    body = (await ask(server.port, get("/v1/models"))).json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["tiny", "other"]
    assert list(body["data"][0]) == [
        "id",
        "object",
        "created",
        "owned_by",
        "root",
        "parent",
        "max_model_len",
        "permission",
    ]


async def test_models_with_a_slash_are_elsewhere(server):
    answer = await ask(server.port, get("/v1/models/"))
    assert (answer.status, answer["location"]) == (307, "http://x/v1/models")


async def test_tokenize(server):
    answer = await ask(server.port, post("/tokenize", {"prompt": "hello there"}))
    assert answer.json() == {
        "count": 3,
        "max_model_len": 8192,
        "tokens": [0, 1, 2],
        "token_strs": None,
    }


async def test_metrics_with_a_slash_are_filtered_and_chunked(server):
    target = "/metrics/?name[]=vllm:num_requests_running&name%5B%5D=vllm:num_requests_waiting"
    answer = await ask(server.port, get(target))
    assert answer["transfer-encoding"] == "chunked"
    assert answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body.decode().splitlines()[2::3] == [
        'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0',
        'vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0',
    ]
    unfiltered = await ask(server.port, get("/metrics?name[]=vllm:num_requests_running"))
    assert unfiltered["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert b"vllm:cache_config_info" in unfiltered.body
    assert (await ask(server.port, get("/metrics/?name[]=none"))).body == b""


async def test_transcription_counts_its_multipart_body(server):
    fields = "Content-Type: multipart/form-data; boundary=b\r\n"
    answer = await ask(server.port, post("/v1/audio/transcriptions", b"x" * 300_000, fields))
    assert answer.json()["size"] == 300_000
    answer = await ask(server.port, post("/v1/audio/transcriptions", {}))
    assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_echo(server, method):
    body = b"\x00\xff" * 50_000
    head = (
        f"{method} /standin/echo/a%20b?q=1 HTTP/1.1\r\nHost: h\r\nX-A: caf\xe9\r\nx-a: 2\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    told = (await ask(server.port, head.encode("latin-1") + body)).json()
    assert (told["method"], told["target"]) == (method, "/standin/echo/a%20b?q=1")
    assert told["fields"] == [
        ["Host", "h"],
        ["X-A", "caf\xe9"],
        ["x-a", "2"],
        ["Content-Length", str(len(body))],
    ]
    assert told["body"] == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


async def test_state(server):
    state = (await ask(server.port, get("/standin/state"))).json()
    assert state.keys() == {
        *("name", "pid", "mode", "running", "waiting", "served", "aborted", "refused"),
        *("requests", "connections_open", "connections_accepted"),
    }
    assert state["requests"] == 1


async def test_set_unhealthy(server):
    await ask(server.port, post("/standin/set", {"healthy": False}))
    assert (await ask(server.port, get("/health"))).status == 503
    await ask(server.port, post("/standin/set", {"healthy": True}))
    assert (await ask(server.port, get("/health"))).status == 200


async def test_hung_engine_sends_heads_only(server):
    await ask(server.port, post("/standin/set", {"hung": True}))
    async with client(server.port) as stream, client(server.port) as whole:
        stream.send(chat(stream=True))
        whole.send(chat())
        await stream.read_some()
        assert stream.wire.startswith(b"HTTP/1.1 200 OK\r\n")
        state = (await ask(server.port, get("/standin/state"))).json()
        assert (state["mode"], state["running"], state["waiting"]) == ("hung", 0, 0)
        assert (await ask(server.port, get("/health"))).status == 200
        await ask(server.port, post("/standin/set", {"hung": False}))
        assert (await stream.receive()).complete
        assert (await whole.receive()).complete


async def test_sleeping_server_sends_nothing(server):
    await ask(server.port, post("/standin/set", {"sleeping": True}))
    assert server.engine.mode is Mode.ASLEEP
    async with client(server.port) as stream:
        stream.send(chat(stream=True))
        await until(lambda: server.counters.requests == 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.read_some()
        await ask(server.port, post("/standin/set", {"sleeping": False}))
        answer = await stream.receive()
        assert answer.complete
        assert answer["transfer-encoding"] == "chunked"


async def test_sleep_and_wake_up(server):
    async def asked(request_):
        return (await ask(server.port, request_)).json()

    assert await asked(post("/sleep?level=0", b"")) == {"status": "sleeping", "level": 0}
    assert server.engine.mode is Mode.ASLEEP
    assert await asked(get("/is_sleeping")) == {"is_sleeping": True}
    assert await asked(post("/wake_up", b"")) == {"status": "awake", "tags": None}
    assert await asked(get("/is_sleeping")) == {"is_sleeping": False}


async def test_set_changes_the_pace_and_the_slots(server):
    change = {"ttft": 60, "token_interval": 1, "slots": 1, "max_queued": 3}
    await ask(server.port, post("/standin/set", change))
    async with client(server.port) as connection:
        connection.send(chat(n=3))
        await until(lambda: server.engine.waiting == 2)
        await ask(server.port, post("/standin/set", {"slots": 3}))
        assert (server.engine.running, server.engine.waiting) == (3, 0)


@pytest.mark.parametrize("body", [b"{", {"helthy": True}, {"slots": "many"}])
async def test_an_invalid_change_is_rejected(server, body):
    assert (await ask(server.port, post("/standin/set", body))).status == 400


async def test_an_invalid_size_is_rejected(server):
    assert (await ask(server.port, get("/standin/bytes?size=-1"))).status == 400
