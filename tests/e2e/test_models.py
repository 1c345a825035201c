"""Requests go to servers that have their model; errors for unknown models list valid names."""

import asyncio
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from fastroute.rules.server_state import ServerState
from tests.support.judge import judge_requests
from tests.support.scripted import read_request, scripted
from tests.support.standin_client import ask, chat, client, get, post
from tests.support.standins import standin, standins

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DOWN, DRAINING, COOLING = ServerState.DOWN, ServerState.DRAINING, ServerState.COOLING
CAPTURED = Path(__file__).parents[1] / "captures" / "err_unknown_model.res"


def keeping(bodies: list[tuple[bytes, bytes]]):
    """A server that returns 200 and keeps headers and bodies of its requests."""

    async def handler(reader, writer):
        while True:
            try:
                bodies.append(await read_request(reader))
            except asyncio.IncompleteReadError:
                return
            writer.write(OK)

    return handler


def form(*fields: tuple[str, bytes], boundary: str = "3d6b6a416f9b5") -> tuple[bytes, str]:
    """Return a multipart body, and its Content-Type line."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content
        for name, content in fields
    ]
    body = b"\r\n".join((*parts, f"--{boundary}--\r\n".encode()))
    return body, f"Content-Type: multipart/form-data; boundary={boundary}\r\n"


class TestChoice:
    async def test_each_model_at_its_servers(self, start_router):
        async with (
            standin(models=("a", "both")) as first,
            standin(models=("b", "both")) as second,
        ):
            router = await start_router(first.url, second.url)
            router.configure({"models": ("a", "both")}, {"models": ("b", "both")})
            for model in ("a", "b", "both") * 10:
                assert (await ask(router.port, chat(model=model))).status == 200
            assert first.counters.served + second.counters.served == 30
            assert min(first.counters.served, second.counters.served) >= 10

    async def test_no_model_goes_anywhere(self, start_router):
        async with standins(2) as servers:
            router = await start_router(*(server.url for server in servers))
            router.configure({"models": ("a",)}, {"models": ("b",)})
            for _ in range(40):
                assert (await ask(router.port, chat())).status == 200
            assert all(server.counters.served for server in servers)

    @pytest.mark.parametrize("where", ["query", "form", "form-behind-the-file", "chunked"])
    async def test_named_elsewhere(self, start_router, where):
        bodies: list[tuple[bytes, bytes]] = []
        file, model = ("file", bytes(range(256)) * 1000), ("model", b"b")
        async with scripted(keeping([])) as other, scripted(keeping(bodies)) as server:
            router = await start_router(other.url, server.url)
            router.configure({"models": ("a",)}, {"models": ("b",)})
            request = get("/v1/x?model=b")
            if where == "chunked":
                request = post("/v1/x", b"", "Transfer-Encoding: chunked\r\n").replace(
                    b"Content-Length: 0\r\n", b""
                )
                request += b'3\r\n{"m\r\n9\r\nodel":"b"\r\n1\r\n}\r\n0\r\n\r\n'
            elif where != "query":
                fields = (model, file) if where == "form" else (file, model)
                request = post("/v1/audio/transcriptions", *form(*fields))
            for _ in range(5):
                assert (await ask(router.port, request)).status == 200
        assert (other.connections, len(bodies)) == (0, 5)

    async def test_changes_with_the_servers(self, start_router):
        """A LoRA adapter is loaded on another server; an open connection sees it immediately."""
        async with standin(models=("a",)) as first, standin(models=("a", "lora")) as second:
            router = await start_router(first.url, second.url)
            router.configure({"models": ("a",)}, {"models": ("a",)})
            async with client(router.port) as connection:
                connection.send(chat(model="lora"))
                assert (await connection.receive()).status == 404
                router.configure({"models": ("a",)}, {"models": ("a", "lora")})
                for _ in range(5):
                    connection.send(chat(model="lora"))
                    assert (await connection.receive()).status == 200
            assert second.counters.served == 5


class TestUnknown:
    async def test_is_answered_as_vllm_does(self, start_router):
        """The body is identical to vLLM's own for its one model."""
        async with standin(models=("tiny",)) as server:
            router = await start_router(server.url)
            router.configure({"models": ("tiny",)})
            answer = await ask(router.port, chat(model="nosuch"))
            assert server.counters.requests == 0
        head, _, body = CAPTURED.read_bytes().partition(b"\r\n\r\n")
        assert (answer.status, answer.body) == (int(head.split()[1]), body)
        assert answer["content-type"] == "application/json"
        assert router.state.cells.process.unknown_models[0] == 1
        assert router.state.ledger.requests == 0, "it counts for no server and no retry budget"

    async def test_names_all_that_would_do(self, start_router):
        async with standins(2) as servers:
            router = await start_router(*(server.url for server in servers))
            router.configure(
                {"models": ("b", "a")}, {"models": ("c",), "state": DOWN}, aliases={"gpt": "a"}
            )
            answer = await ask(router.port, chat(model="x"))
        assert answer.json()["error"] == {
            "message": "The model `x` does not exist. Valid aliases: b, a, c, gpt.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }

    @pytest.mark.parametrize("name", ['a"b\\', "\u00e9\U0001f600", "x" * 256, "`", "%s{}"])
    async def test_odd_names(self, start_router, name):
        async with standin() as server:
            router = await start_router(server.url)
            router.configure({"models": ("m",)})
            answer = await ask(router.port, chat(model=name))
        assert answer.status == 404
        assert f"`{name}`" in answer.json()["error"]["message"]

    async def test_the_connection_goes_on(self, start_router):
        async with standin(models=("m",)) as server:
            router = await start_router(server.url)
            router.configure({"models": ("m",)})
            async with client(router.port) as connection:
                connection.send(chat(model="x") + chat(model="m") + chat(model="y"))
                statuses = [(await connection.receive()).status for _ in range(3)]
        assert statuses == [404, 200, 404]

    async def test_head(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            router.configure({"models": ("m",)})
            raw = await router.ask(get("/v1/x?model=no", "HEAD", "Connection: close\r\n"))
        assert raw.startswith(b"HTTP/1.1 404 ")
        assert raw.endswith(b"\r\n\r\n")


class TestAllDown:
    @pytest.mark.parametrize("state", [DOWN, DRAINING], ids=["down", "draining"])
    async def test_is_a_503_with_retry_after(self, start_router, state):
        async with standin(models=("a",)) as first, standin(models=("b",)) as second:
            router = await start_router(first.url, second.url)
            router.configure({"models": ("a",), "state": state}, {"models": ("b",)})
            answer = await ask(router.port, chat(model="a"))
            assert answer.status == 503
            assert int(answer["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == 503
            assert (await ask(router.port, chat(model="b"))).status == 200
        assert router.state.cells.process.unrouted_503[0] == 1

    async def test_comes_back(self, start_router):
        async with standin(models=("a",)) as server:
            router = await start_router(server.url)
            for state, status in ((DOWN, 503), (COOLING, 200), (ServerState.TRIAL, 200)):
                router.configure({"models": ("a",), "state": state})
                assert (await ask(router.port, chat(model="a"))).status == status


class TestAlias:
    async def test_only_the_value_changes(self, start_router):
        bodies: list[tuple[bytes, bytes]] = []
        text = b'{ "messages":[{"model":"gpt-4o"}],\n"model" : "gpt-4o", "x":1.50 }'
        async with scripted(keeping(bodies)) as server:
            router = await start_router(server.url)
            router.configure(
                {"models": ("org/llama3.1:8b",)}, aliases={"gpt-4o": "org/llama3.1:8b"}
            )
            assert (await ask(router.port, post("/v1/x", text))).status == 200
        [(head, body)] = bodies
        expected = text.replace(b': "gpt-4o"', b': "org/llama3.1:8b"')
        assert body == expected
        [request] = judge_requests(head + body)
        assert request.values(b"content-length") == [b"%d" % len(expected)]
        assert request.whole

    async def test_in_a_form(self, start_router):
        bodies: list[tuple[bytes, bytes]] = []
        body, content_type = form(("file", b'{"model":"whisper-1"}\0\xff'), ("model", b"whisper-1"))
        async with scripted(keeping(bodies)) as server:
            router = await start_router(server.url)
            router.configure(
                {"models": ("large-v3-turbo",)}, aliases={"whisper-1": "large-v3-turbo"}
            )
            answer = await ask(router.port, post("/v1/audio/transcriptions", body, content_type))
        assert answer.status == 200
        expected = body.replace(b"\r\n\r\nwhisper-1\r\n", b"\r\n\r\nlarge-v3-turbo\r\n")
        assert bodies[0][1] == expected

    async def test_large_body_arrives_whole(self, start_router):
        text = json.dumps({"x": "\u00e9y" * 1_000_000, "model": "alias"}).encode()
        async with standin(models=("real",)) as server:
            router = await start_router(server.url)
            router.configure({"models": ("real",)}, aliases={"alias": "real"})
            answer = await ask(router.port, post("/standin/echo", text))
        told = answer.json()
        expected = text[:-7] + b'real"}'
        assert expected.endswith(b'"model": "real"}')
        assert hashlib.sha256(expected).hexdigest() in json.dumps(told)

    async def test_of_a_model_nobody_has(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            router.configure({"models": ("m",)}, aliases={"alias": "gone"})
            assert (await ask(router.port, chat(model="alias"))).status == 404


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":', id="cut"),
        pytest.param(b"\xff\xfe\x00", id="binary"),
        pytest.param(b'{"model":"\xff"}', id="name-not-utf8"),
        pytest.param(b'{"\xff":1,"model":"alias"}', id="alias-and-key-not-utf8"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"a":' * 50_000 + b'{"model":"alias"}' + b"}" * 50_000, id="deep-object"),
        pytest.param(b'{"model":1}', id="number"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_a_body_that_cannot_be_read_goes_to_a_server(start_router, body):
    """The server's error is more precise, so fastroute does not validate."""
    bodies: list[tuple[bytes, bytes]] = []
    async with scripted(keeping(bodies)) as server:
        router = await start_router(server.url)
        router.configure({"models": ("m",)}, aliases={"alias": "m"})
        assert (await ask(router.port, post("/v1/x", body))).status == 200
    assert bodies[0][1] == body.replace(b'"model":"alias"}', b'"model":"m"}') or (
        b"alias" in body and bodies[0][1] == body
    )


class TestMerged:
    MERGED = b'{"object":"list","data":[{"id":"a","max_model_len":8192},{"id":"lora"}]}'

    async def test_is_answered_without_a_server(self, start_router):
        async with standin() as server:
            router = await start_router(server.url)
            router.configure({"models": ("a", "lora")}, models_json=self.MERGED)
            answer = await ask(router.port, get("/v1/models"))
            head = await router.ask(get("/v1/models", "HEAD", "Connection: close\r\n"))
            assert server.counters.requests == 0
        assert (answer.status, answer.body) == (200, self.MERGED)
        assert answer["content-type"] == "application/json"
        assert b"\r\ncontent-length: %d\r\n" % len(self.MERGED) in head
        assert head.endswith(b"\r\n\r\n")
        assert router.state.cells.process.requests_local[0] == 2

    async def test_is_a_servers_own_until_known(self, start_router):
        async with standin(models=("x",)) as server:
            router = await start_router(server.url)
            answer = await ask(router.port, get("/v1/models"))
        assert [model["id"] for model in answer.json()["data"]] == ["x"]

    @pytest.mark.parametrize("target", ["/v1/models/a", "/v1/models/"])
    async def test_other_paths_go_to_servers(self, start_router, target):
        async with standin() as server:
            router = await start_router(server.url)
            router.configure({"models": ("a",)}, models_json=self.MERGED)
            await ask(router.port, get(target))
            assert server.counters.requests == 1


async def test_models_are_counted_apart(start_router):
    """Models with a slot; all others, and requests without a model, share the first."""
    async with standins(2, models=("a", "b", "c")) as servers:
        router = await start_router(*(server.url for server in servers))
        each = {"models": ("a", "b", "c")}
        router.configure(each, each, model_slots=("b", "a"), aliases={"alias": "b"})
        asked = Counter()
        for model in ("a", "b", "alias", "c", None, "b", "nosuch"):
            await ask(router.port, chat(model=model) if model else chat())
            asked[model] += 1
    assert router.state.cells.models.finished_2xx.tolist()[:4] == [2, 3, 1, 0]
    assert sum(router.state.cells.finished_2xx) == 6
