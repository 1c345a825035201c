"""Evidence that waits for a second opinion, replays, and refusals by servers that are wrong."""

import asyncio

import msgspec
import pytest

from fastroute.config import Config
from fastroute.ipc.messages import Configure
from fastroute.rules.evidence import Event
from tests.support.judge import judge_replies, judge_requests
from tests.support.memory_router import memory_router, own_error
from tests.support.memory_transport import End

OK = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi"
BODY = b'{"model":"m"}'
NO_MODEL = b'{"error":{"message":"The model `m` does not exist.","type":"NotFoundError"}}'
NO_PATH = b'{"detail":"Not Found"}'
FAILED, LOST_ONE = Event.REQUEST_FAILED, Event.REQUEST_LOST


def reply(status: int, body: bytes = b"no") -> bytes:
    return b"HTTP/1.1 %d X\r\nDate: x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def request(
    target: bytes = b"/v1/completions", method: bytes = b"POST", fields: bytes = b""
) -> bytes:
    head = b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%b" % (
        method,
        target,
        fields,
    )
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Fleet:
    """Servers that are asked in their order, and a client's request to them.

    Attributes:
        router: The data plane.
        observed: Evidence told to the supervisor, as row, kind and model.
        servers: A connection to each server.
    """

    def __init__(self, router) -> None:
        self.router = router
        for row in range(len(router.pools)):
            router.table.servers.foreign_milli[row] = 1000 * row
        self.servers = [pool.ready() for pool in router.pools]

    @property
    def observed(self) -> list[tuple[int, Event, str]]:
        return [(seen.row, seen.kind, seen.model) for seen in self.router.link.observed]

    def ask(self, sent: bytes | None = None):
        client = self.router.client()
        client.feed(request() if sent is None else sent)
        return client

    def penalties(self) -> list[int]:
        return sorted(self.router.state.router.refusals.penalties)


@pytest.fixture(name="fleet")
def fleet_fixture():
    """Start a fleet; the counters are checked at its end."""
    routers = []

    def start(servers: int, *, models=None, api_key=None, **settings) -> Fleet:
        context = memory_router(servers=servers, **settings)
        router = context.__enter__()
        routers.append(context)
        routed = [
            msgspec.structs.replace(each, models=models, api_key=api_key) for each in router.routed
        ]
        config = Config(servers=(), **settings)
        router.state.configure(Configure(config=config, servers=tuple(routed)))
        return Fleet(router)

    yield start
    for context in routers:
        context.__exit__(None, None, None)


LOST = pytest.param(lambda upstream: upstream.eof(), id="lost")
GATEWAY = pytest.param(lambda upstream: upstream.feed(reply(502)), id="502")


class TestSuspicion:
    @pytest.mark.parametrize("fail", [LOST, GATEWAY])
    def test_confirmed_by_an_answer(self, fleet, fail):
        two = fleet(2, models=("m",))
        client = two.ask()
        fail(two.servers[0])
        assert not two.observed, "not before another server has answered"
        assert two.penalties() == [0], "but the next requests had better go elsewhere"
        two.servers[1].feed(OK[:-1])
        assert two.observed == [(0, FAILED, "m")], "a long response need not end"
        two.servers[1].feed(OK[-1:])
        assert client.written() == OK
        assert two.observed == [(0, FAILED, "m")]
        assert two.router.state.router.refusals.penalties == {0: 1.0}

    @pytest.mark.parametrize("fail", [LOST, GATEWAY])
    def test_dropped_if_it_fails_again(self, fleet, fail):
        two = fleet(2)
        client = two.ask()
        for upstream in two.servers:
            fail(upstream)
        assert judge_replies(client.written(), [b"POST"], closed=False)[0].status == 502
        assert not two.observed
        assert not two.penalties()

    def test_a_third_is_not_asked(self, fleet):
        """A gateway may have begun with it: it is sent a second time at most."""
        three = fleet(3)
        client = three.ask()
        three.servers[0].feed(reply(502))
        three.servers[1].feed(reply(504))
        assert client.written() == reply(504)
        assert not three.servers[2].written()
        assert not three.observed
        assert not three.penalties()

    def test_two_kinds_of_failure(self, fleet):
        """The last one may be the request's fault as well; nobody has answered it."""
        two = fleet(2)
        two.ask()
        two.servers[0].feed(reply(502))
        two.servers[1].eof()
        assert two.observed == [(1, LOST_ONE, "")]

    def test_one_after_the_other_in_vain(self, fleet):
        """Nobody answered, so nobody can tell who is to blame; the last failure is another one."""
        two = fleet(2)
        client = two.ask()
        two.servers[0].eof()
        two.servers[1].feed(b"junk\r\n\r\n")
        assert own_error(client)[0] == 502
        assert two.observed == [(1, LOST_ONE, "")]

    def test_alone(self, fleet):
        one = fleet(1)
        one.ask()
        one.servers[0].eof()
        assert one.observed == [(0, LOST_ONE, "")]
        assert one.penalties() == [0]

    def test_no_retries(self, fleet):
        two = fleet(2, max_retries=0)
        two.ask()
        two.servers[0].eof()
        assert two.observed == [(0, LOST_ONE, "")]

    def test_an_error_is_no_answer(self, fleet):
        two = fleet(2)
        two.ask()
        two.servers[0].eof()
        two.servers[1].feed(reply(501))
        assert two.observed == [(1, Event.REQUEST_ERROR, "")]

    def test_the_client_leaves_while_it_waits_for_the_second(self, fleet):
        """It could else mark servers by requests that kill them, and never be contradicted."""
        two = fleet(2)
        client = two.ask()
        two.servers[0].eof()
        assert two.servers[1].take()
        client.lose(None)
        assert two.servers[1].end is End.ABORTED
        assert not two.observed

    def test_the_client_leaves_within_the_second_response(self, fleet):
        two = fleet(2)
        client = two.ask()
        two.servers[0].eof()
        two.servers[1].feed(OK[:-1])
        client.lose(None)
        assert two.observed == [(0, FAILED, "")]

    def test_silence_on_the_second(self, fleet):
        two = fleet(2, request_timeout=5.0)
        client = two.ask()
        two.servers[0].eof()
        two.router.sweep(6.0)
        assert own_error(client)[0] == 504
        assert two.observed == [(1, Event.REQUEST_SILENT, "")]

    def test_the_next_request_starts_without_it(self, fleet):
        two = fleet(2)
        client = two.ask()
        two.servers[0].eof()
        two.servers[1].feed(OK)
        two.router.state.router.refusals.forget(0)
        again = two.router.pools[0].ready()
        client.feed(request())
        again.feed(OK)
        assert client.written() == OK + OK
        assert two.observed == [(0, FAILED, "")]


class TestReplay:
    def test_once_at_most(self, fleet):
        three = fleet(3)
        client = three.ask()
        three.servers[0].eof()
        three.servers[1].eof()
        assert own_error(client)[0] == 502
        assert not three.servers[2].written()

    @pytest.mark.parametrize("servers", [1, 2])
    async def test_once_also_after_a_stale_connection(self, servers):
        """On the other server: this one may be ending. Where there is none, on a new connection."""
        with memory_router(asyncio.get_running_loop(), servers=servers) as router:
            for row in range(1, servers):
                router.table.servers.foreign_milli[row] = 1000
            client, stale = router.client(), router.pools[0].ready(reused=True)
            client.feed(request(fields=b"X-Request-Id: mine\r\n"))
            stale.eof()
            second = await (router.asked(server=1) if servers == 2 else router.asked(count=2))
            assert judge_requests(second.written())[0].values(b"x-request-id") == [b"mine-replay"]
            second.eof()
            assert own_error(client)[0] == 502
            assert len(router.pools[0].upstreams) == 3 - servers

    @pytest.mark.parametrize(
        ("fail", "suffix"),
        [
            pytest.param(lambda upstream: upstream.eof(), b"-replay", id="lost"),
            pytest.param(lambda upstream: upstream.feed(reply(503)), b"", id="refused"),
            pytest.param(lambda upstream: upstream.feed(reply(502)), b"-replay", id="gateway"),
        ],
    )
    def test_its_id(self, fleet, fail, suffix):
        """A server's log tells a request that may run elsewhere, too, from a first one."""
        two = fleet(2)
        two.ask(request(fields=b"X-Request-Id: mine\r\n"))
        [first] = judge_requests(two.servers[0].take())
        fail(two.servers[0])
        [second] = judge_requests(two.servers[1].take())
        assert first.values(b"x-request-id") == [b"mine"]
        assert second.values(b"x-request-id") == [b"mine" + suffix]
        assert second.body == first.body
        two.servers[1].feed(OK)

    @pytest.mark.parametrize(
        ("sent", "is_sent_again"),
        [
            pytest.param(request(), True, id="inference"),
            pytest.param(request(b"/v1/anything", b"PUT"), True, id="put"),
            pytest.param(request(b"/v1/anything", b"DELETE"), True, id="delete"),
            pytest.param(request(b"/v1/load_lora_adapter"), False, id="adapter"),
            pytest.param(request(b"/v1/anything", b"PATCH"), False, id="patch"),
        ],
    )
    def test_methods_and_paths(self, fleet, sent, is_sent_again):
        two = fleet(2)
        client = two.ask(sent)
        two.servers[0].eof()
        assert bool(two.servers[1].take()) is is_sent_again
        if is_sent_again:
            two.servers[1].feed(OK)
        else:
            assert own_error(client)[0] == 502

    def test_a_refusal_is_no_replay(self, fleet):
        """Nothing was started, so any method may go elsewhere."""
        two = fleet(2)
        client = two.ask(request(b"/v1/load_lora_adapter"))
        two.servers[0].feed(reply(503))
        two.servers[1].feed(OK)
        assert client.written() == OK


class TestOverloaded:
    @pytest.mark.parametrize(
        ("target", "told"),
        [
            pytest.param(b"/v1/completions", [(0, Event.BUSY, "")], id="inference"),
            pytest.param(b"/v1/load_lora_adapter", [], id="other"),
        ],
    )
    def test_of_inference_alone(self, fleet, target, told):
        """That an adapter cannot be loaded now says nothing about the engine's load."""
        two = fleet(2)
        client = two.ask(request(target))
        two.servers[0].feed(reply(503))
        two.servers[1].feed(OK)
        assert client.written() == OK
        assert two.observed == told

    def test_of_one_model_of_two(self, fleet):
        two = fleet(2, models=("m", "n"))
        client = two.ask()
        two.servers[0].feed(reply(503))
        two.servers[1].feed(OK)
        assert not two.observed, "the server is not overloaded for its other model"
        again = two.router.pools[1].ready()
        client.feed(request())
        again.feed(OK)
        assert client.written() == OK + OK


class TestWrongKey:
    @pytest.mark.parametrize("status", [401, 403])
    def test_another_server_answers(self, fleet, status):
        two = fleet(2, api_key="ours")
        client = two.ask()
        two.servers[0].feed(reply(status))
        two.servers[1].feed(OK)
        assert client.written() == OK
        assert two.observed == [(0, Event.KEY_REFUSED, "")]
        assert two.penalties() == [0]

    def test_no_other_server(self, fleet):
        one = fleet(1, api_key="ours")
        client = one.ask()
        one.servers[0].feed(reply(401))
        assert client.written() == reply(401)
        assert one.observed == [(0, Event.KEY_REFUSED, "")]

    def test_the_key_is_the_clients(self, fleet):
        two = fleet(2)
        client = two.ask()
        two.servers[0].feed(reply(401))
        assert client.written() == reply(401)
        assert not two.observed
        assert not two.penalties()


class TestMissingModel:
    def test_another_server_answers(self, fleet):
        two = fleet(2, models=("m",))
        client = two.ask()
        two.servers[0].feed(reply(404, NO_MODEL))
        two.servers[1].feed(OK)
        assert client.written() == OK
        assert two.observed == [(0, Event.MODEL_MISSING, "m")]
        assert two.penalties() == [0]

    @pytest.mark.parametrize("retries", [0, 3])
    def test_no_other_server(self, fleet, retries):
        one = fleet(1, models=("m",), max_retries=retries)
        client = one.ask()
        one.servers[0].feed(reply(404, NO_MODEL))
        assert client.written() == reply(404, NO_MODEL)
        assert one.observed == [(0, Event.MODEL_MISSING, "m")]

    def test_all_say_so(self, fleet):
        two = fleet(2, models=("m",))
        client = two.ask()
        for upstream in two.servers:
            upstream.feed(reply(404, NO_MODEL))
        assert client.written() == reply(404, NO_MODEL)
        assert [kind for _, kind, _ in two.observed] == [Event.MODEL_MISSING] * 2

    @pytest.mark.parametrize("retries", [0, 3])
    @pytest.mark.parametrize(
        "page",
        [pytest.param(NO_PATH, id="path"), pytest.param(b"x" * 100_000, id="too-long-to-hold")],
    )
    def test_it_is_about_the_path(self, fleet, page, retries):
        """No client makes a server look bad by asking for a path that does not exist."""
        two = fleet(2, models=("m",), max_retries=retries)
        client = two.ask()
        sent = reply(404, page)
        two.servers[0].feed(sent[:50], sent[50:70_000], sent[70_000:])
        assert client.written() == sent
        assert not two.observed
        assert not two.penalties()

    def test_none_is_named(self, fleet):
        two = fleet(2)
        client = two.ask()
        two.servers[0].feed(reply(404, NO_MODEL))
        assert client.written() == reply(404, NO_MODEL)
        assert not two.observed
