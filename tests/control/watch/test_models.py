"""The servers' model objects are forwarded unchanged, one per id."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastroute.control.watch.models import (
    MAX_CARD_BYTES,
    MAX_LIST_BYTES,
    MAX_MODELS,
    MAX_NAME_CHARACTERS,
    MIN_INTERVAL,
    BadModels,
    fetch_models,
    keep_listing,
    merge,
    parse_models,
    settled,
)
from fastroute.net.http_client import ClientError, ServerClient
from fastroute.server_address import ServerAddress
from fastroute.standin.message import Settings
from fastroute.standin.server import StandIn
from tests.support.descriptors import no_descriptors
from tests.support.hostile_server import many_models, model_list
from tests.support.ports import free_port
from tests.support.scripted import replies, scripted
from tests.support.standins import standin, until

BASE = b'{"id":"tiny","created":1,"max_model_len": 2048, "new":{"x":[1.0, 1e2]},"permission":[]}'
ADAPTER = b'{"parent":"tiny", "id":"tiny-\\u00e9", "root":"/adapters/e"}'


def listing(*objects):
    return b'{"object":"list","data":[' + b", ".join(objects) + b'],"more":1}'


def client_of(url):
    return ServerClient(ServerAddress.from_url(url))


# Reading.


def test_objects_stay_as_they_came():
    models = parse_models(listing(BASE, ADAPTER))
    assert {model: bytes(raw) for model, raw in models.items()} == {"tiny": BASE, "tiny-é": ADAPTER}


def test_no_models_is_a_list_too():
    assert parse_models(listing()) == {}


def test_of_two_with_one_id_the_first_counts():
    other = BASE.replace(b"2048", b"4096")
    assert bytes(parse_models(listing(BASE, other))["tiny"]) == BASE


class TestLimits:
    """A server that listed 480,000 models stalled each worker for a second."""

    def test_the_rest_of_a_long_list_is_ignored(self):
        models = parse_models(many_models(MAX_MODELS + 5))
        assert (len(models), models.ignored) == (MAX_MODELS, 5)
        assert "m0" in models

    def test_a_long_name_is_ignored(self):
        names = ("a", "x" * MAX_NAME_CHARACTERS, "x" * (MAX_NAME_CHARACTERS + 1), "b")
        models = parse_models(model_list(names))
        assert (list(models), models.ignored) == ([names[0], names[1], "b"], 1)

    def test_nothing_else_is(self):
        assert parse_models(many_models(MAX_MODELS)).ignored == 0

    @pytest.mark.parametrize(("size", "is_kept"), [(MAX_CARD_BYTES, True), (40_000, False)])
    def test_a_long_object_is_replaced(self, size, is_kept):
        card = b'{"id":"m","x":"%b"}'
        card %= b"x" * (size - len(card) + 2)
        (shown,) = parse_models(listing(card)).values()
        assert json.loads(bytes(shown))["id"] == "m"
        assert (bytes(shown) == card) is is_kept
        assert len(bytes(shown)) <= MAX_CARD_BYTES

    def test_the_list_for_clients_ends(self):
        card = b'"x":"%b"' % (b"x" * (MAX_CARD_BYTES - 50))
        lists = [
            parse_models(listing(*(b'{"id":"%d-%d",%b}' % (server, n, card) for n in range(100))))
            for server in range(10)
        ]
        merged = merge(lists)
        assert MAX_LIST_BYTES - MAX_CARD_BYTES < len(merged) < MAX_LIST_BYTES + MAX_MODELS
        assert 500 < len(json.loads(merged)["data"]) < 600

    def test_the_list_for_clients_has_no_more_models_than_a_server_may_have(self):
        lists = [parse_models(model_list(f"{s}-{n}" for n in range(6000))) for s in range(2)]
        assert len(json.loads(merge(lists))["data"]) == MAX_MODELS


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":[{"id":"m","x":' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"data":[{"id":"m"},' + b"1," * 1000 + b"1]}", id="numbers"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"{}", id="no-data"),
        pytest.param(b'{"data":{}}', id="data-no-list"),
        pytest.param(listing(b"1"), id="no-object"),
        pytest.param(listing(b"{}"), id="no-id"),
        pytest.param(listing(b'{"id":1}'), id="id-no-text"),
        pytest.param(listing(BASE)[:-1], id="cut-off"),
        pytest.param(listing(BASE) + b"x", id="more-after-it"),
        pytest.param(listing(b'{"id":"a","x":"\xff"}'), id="not-utf-8-in-a-skipped-field"),
        pytest.param(listing(b'{"id":"a","x":' + b"[" * 99_999 + b"]" * 99_999 + b"}"), id="deep"),
    ],
)
def test_no_list(body):
    with pytest.raises(BadModels, match="not a list of models"):
        parse_models(body)


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
def test_garbage_never_crashes(body):
    for garbage in (body, listing(body), listing(b'{"id":"a","b":' + body + b"}")):
        with contextlib.suppress(BadModels):
            parse_models(garbage)


# Comparing.


def test_what_vllm_makes_anew_each_time_is_no_change():
    known = parse_models(listing(BASE, ADAPTER))
    renewed = BASE.replace(b'"created":1', b'"created":2').replace(b"[]", b'[{"id":"x"}]')
    assert settled(known, parse_models(listing(renewed, ADAPTER))) is known


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([BASE], id="fewer"),
        pytest.param([BASE, ADAPTER, b'{"id":"more"}'], id="more"),
        pytest.param([ADAPTER, BASE], id="another-order"),
        pytest.param([BASE.replace(b"2048", b"4096"), ADAPTER], id="another-length"),
        pytest.param([], id="none"),
    ],
)
def test_a_change(objects):
    known = parse_models(listing(BASE, ADAPTER))
    listed = parse_models(listing(*objects))
    assert settled(known, listed) is listed


def test_the_first_list_is_a_change():
    listed = parse_models(listing())
    assert settled(None, listed) is listed


# Merging.


def test_merge_gives_one_object_for_each_id_unchanged_and_in_order():
    longer = BASE.replace(b"2048", b"4096")
    merged = merge(
        [
            parse_models(listing(ADAPTER)),
            parse_models(listing()),
            parse_models(listing(BASE)),
            parse_models(listing(longer, b'{"id":"big"}')),
        ]
    )
    assert merged == b'{"object":"list","data":[' + ADAPTER + b"," + BASE + b',{"id":"big"}]}'


def test_merge_of_nothing():
    assert json.loads(merge([])) == {"object": "list", "data": []}


# Fetching.


async def test_fetch():
    async with standin(models=("tiny", "tiny-lora")) as server:
        with contextlib.closing(client_of(server.url)) as client:
            models = await fetch_models(client, 5)
    assert list(models) == ["tiny", "tiny-lora"]
    assert msgspec.json.decode(models["tiny"])["max_model_len"] == 8192


@pytest.mark.parametrize(
    ("reply", "error", "reason"),
    [
        pytest.param(
            b"HTTP/1.1 401 X\r\nContent-Length: 2\r\n\r\n{}",
            BadModels,
            "/v1/models returned 401",
            id="key-needed",
        ),
        pytest.param(
            b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}", BadModels, "not a list", id="no-list"
        ),
        pytest.param(b"garbage\r\n\r\n", ClientError, "breaks HTTP", id="garbage"),
    ],
)
async def test_fetch_fails(reply, error, reason):
    async with scripted(replies(reply)) as server:
        with contextlib.closing(client_of(server.url)) as client:
            with pytest.raises(error, match=reason):
                await fetch_models(client, 5)


class Server:
    """Records what a loop reports."""

    def __init__(self, interval=60.0):
        self.models_refresh_interval = interval
        self.lists = []
        self.failures = []
        self.skips = []

    def models_listed(self, models):
        self.lists.append(models)

    def listing_failed(self, reason):
        self.failures.append(reason)

    def skipped(self, reason):
        self.skips.append(reason)


@contextlib.asynccontextmanager
async def keeping(url, server):
    refresh = asyncio.Event()
    task = asyncio.create_task(keep_listing(server, client_of(url), refresh))
    try:
        yield refresh
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_first_round_is_at_once_and_others_when_asked_for():
    server = Server()
    async with standin(models=("a",)) as other, keeping(other.url, server) as refresh:
        await until(lambda: len(server.lists) == 1)
        refresh.set()
        await until(lambda: len(server.lists) == 2)
        assert server.lists[1] is server.lists[0]
        other.settings.models = ("a", "b")
        refresh.set()
        await until(lambda: len(server.lists) == 3)
    assert list(server.lists[2]) == ["a", "b"]
    assert server.failures == []


async def test_who_asks_for_rounds_does_not_determine_their_rate():
    server = Server()
    async with standin() as other, keeping(other.url, server) as refresh:
        await until(lambda: len(server.lists) == 1)
        begun = asyncio.get_running_loop().time()
        for rounds in (2, 3):
            refresh.set()
            await until(lambda: len(server.lists) == rounds)  # noqa: B023  awaited at once
        assert asyncio.get_running_loop().time() - begun > 2 * MIN_INTERVAL * 0.9


async def test_rounds_repeat():
    server = Server(interval=0.005)
    async with standin() as other, keeping(other.url, server):
        await until(lambda: len(server.lists) >= 4)


async def test_after_failures_the_same_list_is_no_change():
    server = Server(interval=0.005)
    port = free_port()
    async with at_port(port) as other, keeping(other.url, server):
        await until(lambda: server.lists)
        await other.stop()
        await until(lambda: server.failures)
        assert server.failures[0] == "cannot connect: Connection refused"
        seen = len(server.lists)
        async with at_port(port):
            await until(lambda: len(server.lists) > seen)
    assert all(models is server.lists[0] for models in server.lists)


@contextlib.asynccontextmanager
async def at_port(port):
    server = await StandIn.start(Settings(models=("a",)), port=port)
    try:
        yield server
    finally:
        await server.stop()


async def test_a_round_that_could_not_be_sent_is_none():
    server = Server()
    async with standin() as other:
        with no_descriptors():
            async with keeping(other.url, server):
                await until(lambda: server.skips)
        assert (server.failures, server.lists) == ([], [])
