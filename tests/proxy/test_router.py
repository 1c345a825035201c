"""From a request to the servers of its model, and from those to one; what a reload keeps."""

from collections import Counter

import pytest

from fastroute.config import Config
from fastroute.ipc.messages import Configure, RoutedServer
from fastroute.ipc.score_table import ScoreTable
from fastroute.proxy.model_servers import ModelServers
from fastroute.proxy.router import Router, UnknownModel
from fastroute.proxy.server import Server
from fastroute.proxy.upstream import UpstreamConnection
from fastroute.rules.model_name import requested_model
from fastroute.rules.server_state import ServerState
from tests.support.memory_transport import End, MemoryTransport
from tests.support.score_table import put_server

JSON = b"application/json"
CHAT = b"/v1/chat/completions"
UP, DOWN, DRAINING = ServerState.UP, ServerState.DOWN, ServerState.DRAINING
TRIAL, COOLING = ServerState.TRIAL, ServerState.COOLING
EJECTED, ASLEEP = ServerState.EJECTED, ServerState.ASLEEP


class Routing:
    """A router and its table.

    Attributes:
        router: The router.
        table: The score table of two workers; the router is that of the first.
    """

    def __init__(self, table: ScoreTable) -> None:
        self.table = table
        self.router = Router(table)
        self.settings: dict = {}

    def configure(
        self, *servers: tuple[RoutedServer, ServerState], model_slots=(), **settings
    ) -> None:
        self.settings |= settings
        config = Config(servers=(), **self.settings)
        for routed, state in servers:
            put_server(self.table, routed.row, state, routed.generation)
        self.router.configure(
            Configure(
                config=config,
                servers=tuple(routed for routed, _ in servers),
                model_slots=tuple(model_slots),
            )
        )

    def find(self, model: str | None) -> ModelServers:
        body = b"{}" if model is None else b'{"model":"%b"}' % model.encode()
        group, sent, _ = self.router.find(CHAT, JSON, body)
        assert sent is body, "without an alias no byte is touched"
        return group

    def rows(self, model: str | None = None, tried=(), times: int = 60) -> set[int]:
        """The rows that are chosen for a model, again and again."""
        group = self.find(model)
        excluded = [pool for pool in self.router.servers if pool.row in tried]
        chosen = [self.router.choose(group, excluded) for _ in range(times)]
        if None in chosen:
            assert set(chosen) == {None}
            return set()
        return {pool.row for pool in chosen if pool is not None}


def server(
    row: int, state: ServerState = UP, models=None, **fields
) -> tuple[RoutedServer, ServerState]:
    fields = {"generation": 1, "url": f"http://server-{row}:8000", **fields}
    fields.setdefault("max_concurrent_requests", 8)
    return RoutedServer(row=row, models=models, **fields), state


@pytest.fixture
async def routing():
    table = ScoreTable.create(rows=8, workers=2)
    routing = Routing(table)
    yield routing
    for pool in routing.router.servers:
        pool.close_idle()
    table.close()


class TestModels:
    def test_choose_among_those_that_have_it(self, routing):
        a, b, both = (
            server(0, models=("a",)),
            server(1, models=("b",)),
            server(2, models=("a", "b")),
        )
        routing.configure(a, b, both)
        assert routing.rows("a") == {0, 2}
        assert routing.rows("b") == {1, 2}
        assert routing.rows(None) == {0, 1, 2}, "a request that names none may go anywhere"

    def test_that_are_not_known_may_be_there(self, routing):
        routing.configure(server(0, models=("a",)), server(1, models=None))
        assert routing.rows("a") == {0}, "one that told is asked first"
        assert routing.rows("other") == {1}, "it may have it; the one that told its models has not"

    def test_of_no_server_are_known_yet(self, routing):
        routing.configure(server(0), server(1))
        assert routing.rows("whatever") == {0, 1}

    def test_none_is_an_answer_too(self, routing):
        """A server that says it has no models gets no request that names one."""
        routing.configure(server(0, models=()), server(1, models=("a",)))
        assert routing.rows("a") == {1}
        assert routing.rows(None) == {0, 1}

    def test_unknown(self, routing):
        routing.configure(
            server(0, models=("b", "a")),
            server(1, DOWN, models=("c",)),
            aliases={"gpt-4o": "a"},
        )
        with pytest.raises(UnknownModel) as raised:
            routing.find("x")
        assert raised.value.model == "x"
        assert list(raised.value.known) == ["b", "a", "c", "gpt-4o"], (
            "in the servers' order, as vLLM names them"
        )

    def test_empty_name_is_no_name(self, routing):
        routing.configure(server(0, models=("a",)))
        assert routing.rows("") == {0}

    @pytest.mark.parametrize("state", [DOWN, DRAINING])
    def test_known_but_nowhere_to_be_had(self, routing, state):
        """Not the same as unknown: it is answered with 503, not 404."""
        routing.configure(server(0, state, models=("a",)), server(1, models=("b",)))
        assert routing.rows("a") == set()
        assert routing.rows("b") == {1}

    def test_on_a_server_that_was_down_before_it_told(self, routing):
        routing.configure(server(0, DOWN), server(1, models=("b",)))
        assert routing.rows("a") == set(), "it may have it: 503 rather than 404"

    def test_slots_for_counting(self, routing):
        routing.configure(server(0, models=("a", "b", "c")), model_slots=("b", "a"))
        slots = {name: routing.find(name).slot for name in ("a", "b", "c")}
        assert slots == {"b": 1, "a": 2, "c": 0}
        assert routing.find(None).slot == 0

    @pytest.mark.parametrize(
        ("target", "content_type", "body"),
        [
            pytest.param(b"/v1/x?model=b", None, b"", id="query"),
            pytest.param(
                b"/v1/audio/transcriptions",
                b"multipart/form-data; boundary=X",
                b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\nb\r\n--X--\r\n',
                id="form",
            ),
            pytest.param(CHAT, JSON, bytearray(b'{"model":"b"}'), id="json-in-pieces"),
        ],
    )
    def test_named_elsewhere(self, routing, target, content_type, body):
        routing.configure(server(0, models=("a",)), server(1, models=("b",)))
        group, sent, _ = routing.router.find(target, content_type, body)
        assert [pool.row for pool in group.servers] == [1]
        assert sent is body

    def test_no_servers(self, routing):
        routing.configure()
        assert routing.rows("a") == set()


class TestAliases:
    def test_body_is_rewritten(self, routing):
        routing.configure(
            server(0, models=("llama3.1:8b",)), server(1), aliases={"gpt-4o": "llama3.1:8b"}
        )
        group, body, _ = routing.router.find(CHAT, JSON, b'{"x": 1, "model" : "gpt-4o"}')
        assert body == b'{"x": 1, "model" : "llama3.1:8b"}'
        assert {pool.row for pool in group.servers} == {0}

    def test_bytearray(self, routing):
        """A body that came in pieces."""
        routing.configure(server(0, models=("real",)), aliases={"a": "real"})
        _, body, _ = routing.router.find(CHAT, JSON, bytearray(b'{"model":"a"}'))
        assert body == b'{"model":"real"}'

    def test_form(self, routing):
        routing.configure(server(0, models=("real",)), aliases={"a": "real"})
        form = b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--X--\r\n'
        _, body, _ = routing.router.find(CHAT, b"multipart/form-data; boundary=X", form)
        assert body == form.replace(b"\r\na\r\n", b"\r\nreal\r\n")

    def test_other_names_pass(self, routing):
        routing.configure(server(0, models=("real",)), aliases={"a": "real"})
        assert routing.rows("real") == {0}

    def test_are_not_followed_twice(self, routing):
        routing.configure(server(0, models=("b", "c")), aliases={"a": "b", "b": "c"})
        _, body, _ = routing.router.find(CHAT, JSON, b'{"model":"a"}')
        assert body == b'{"model":"b"}'

    def test_win_over_a_model_of_that_name(self, routing):
        """Who writes the alias means it."""
        routing.configure(server(0, models=("a",)), server(1, models=("b",)), aliases={"a": "b"})
        group, _, _ = routing.router.find(CHAT, JSON, b'{"model":"a"}')
        assert [pool.row for pool in group.servers] == [1]

    def test_before_any_server_told_its_models(self, routing):
        routing.configure(server(0), aliases={"a": "real"})
        group, body, _ = routing.router.find(CHAT, JSON, b'{"model":"a"}')
        assert body == b'{"model":"real"}'
        assert [pool.row for pool in group.servers] == [0]

    def test_slot_is_that_of_the_real_model(self, routing):
        routing.configure(
            server(0, models=("real",)), aliases={"a": "real"}, model_slots=("x", "real")
        )
        assert routing.router.find(CHAT, JSON, b'{"model":"a"}')[0].slot == 2

    def test_taken_away_by_a_reload(self, routing):
        routing.configure(server(0, models=("real",)), aliases={"a": "real"})
        routing.configure(server(0, models=("real",)), aliases={})
        with pytest.raises(UnknownModel):
            routing.find("a")


class TestStates:
    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            pytest.param([UP, UP], {0, 1}, id="up"),
            pytest.param([UP, DOWN], {0}, id="down-never"),
            pytest.param([DRAINING, UP], {1}, id="draining-never"),
            pytest.param([UP, TRIAL], {0, 1}, id="trial-too"),
            pytest.param([UP, COOLING], {0}, id="cooling-not-while-one-is-up"),
            pytest.param([TRIAL, COOLING], {0}, id="cooling-not-while-one-is-on-trial"),
            pytest.param([COOLING, COOLING], {0, 1}, id="cooling-if-there-is-no-other"),
            pytest.param([COOLING, DOWN, DRAINING], {0}, id="cooling-before-the-unusable"),
            pytest.param([UP, EJECTED], {0}, id="ejected-not-while-one-is-up"),
            pytest.param([COOLING, EJECTED], {0}, id="ejected-not-while-one-cools"),
            pytest.param([DOWN, EJECTED, EJECTED], {1, 2}, id="panic"),
            pytest.param([DOWN, DRAINING, ASLEEP], set(), id="none"),
            pytest.param([], set(), id="no-servers"),
        ],
    )
    def test_who_is_chosen(self, routing, states, expected):
        routing.configure(*(server(row, state) for row, state in enumerate(states)))
        assert routing.rows() == expected

    @pytest.mark.parametrize("worker", [0, 1])
    def test_one_request_at_a_time_on_trial(self, routing, worker):
        """Counted over all workers, or each of 16 would send one."""
        routing.configure(server(0), server(1, TRIAL))
        in_flight = routing.table.in_flight_columns[worker]
        assert routing.rows() == {0, 1}
        in_flight[1] = 1
        assert routing.rows() == {0}
        in_flight[1] = 0
        assert routing.rows() == {0, 1}

    def test_on_trial_and_busy_and_no_other(self, routing):
        routing.configure(server(0, TRIAL))
        routing.table.in_flight_columns[0][0] = 1
        assert routing.rows() == {0}, "better than none"

    def test_on_trial_and_busy_while_another_cools(self, routing):
        routing.configure(server(0, TRIAL), server(1, COOLING))
        routing.table.in_flight_columns[1][0] = 1
        assert routing.rows() == {1}

    def test_tried_ones_are_left_out(self, routing):
        routing.configure(server(0), server(1, TRIAL), server(2, COOLING))
        assert routing.rows(tried=[0]) == {1}
        assert routing.rows(tried=[1]) == {0}
        assert routing.rows(tried=[0, 1]) == {2}
        assert routing.rows(tried=[0, 1, 2]) == set()


class TestOverloadOfOneModel:
    @pytest.fixture(name="two")
    def two_fixture(self, routing):
        """Two servers with two models; the first is overloaded for the model `a`."""
        routing.configure(*(server(row, models=("a", "b")) for row in range(2)))
        routing.router.tick(100.0)
        first, _ = routing.router.servers
        assert routing.router.cooling.begin(routing.find("a"), first, 3.0)
        return routing

    def test_others_are_asked_for_that_model_alone(self, two):
        assert two.rows("a") == {1}
        assert two.rows("b") == two.rows() == {0, 1}

    def test_it_is_asked_where_there_is_no_other(self, two):
        assert two.rows("a", tried=[1]) == {0}
        choice = two.router.choose_and_explain(two.find("a"), two.router.servers[1:])
        assert choice.reason == "cooling down, but there is no other"

    def test_it_ends_late_rather_than_early(self, two):
        for coming in (100.5, 102.5, 103.0):
            two.router.tick(coming)
            assert two.rows("a") == {1}
        two.router.tick(103.5)
        assert two.rows("a") == {0, 1}

    def test_the_longest_time_counts(self, two):
        group, (first, _) = two.find("a"), two.router.servers
        assert not two.router.cooling.begin(group, first, 1.0), "no news"
        two.router.tick(102.0)
        two.router.tick(102.5)
        assert two.rows("a") == {1}

    def test_the_state_of_the_server_goes_before_it(self, two):
        two.configure(server(0, DOWN, models=("a", "b")), server(1, EJECTED, models=("a", "b")))
        assert two.rows("a") == {1}


class TestWaking:
    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            pytest.param([UP, ASLEEP], {1}, id="asleep-first"),
            pytest.param([ASLEEP, ASLEEP, TRIAL], {0, 1}, id="two"),
            pytest.param([UP, TRIAL, DOWN], {0, 1}, id="none-asleep"),
        ],
    )
    def test_who_is_asked(self, routing, states, expected):
        routing.configure(*(server(row, state) for row, state in enumerate(states)))
        group = routing.router.wakeable
        assert {routing.router.choose(group, ()).row for _ in range(60)} == expected


class TestChoice:
    def test_foreign_load_counts(self, routing):
        routing.configure(server(0), server(1))
        routing.table.servers.foreign_milli[0] = 500
        assert routing.rows() == {1}
        routing.table.servers.foreign_milli[0] = 0
        assert routing.rows() == {0, 1}

    def test_all_workers_requests_count(self, routing):
        routing.configure(server(0), server(1))
        routing.table.in_flight_columns[1][0] = 1
        assert routing.rows() == {1}
        routing.table.in_flight_columns[0][1] = 2
        assert routing.rows() == {0}

    def test_weight_counts(self, routing):
        routing.configure(server(0, weight=2.0), server(1))
        own = routing.table.in_flight_columns[0]
        own[0], own[1] = 3, 2
        assert routing.rows() == {0}, "3 of 16 is less than 2 of 8"

    def test_in_high_rows(self, routing):
        """Rows have gaps where servers were removed."""
        routing.configure(server(7), server(3))
        routing.table.in_flight_columns[1][3] = 1
        assert routing.rows() == {7}

    @pytest.mark.parametrize("workers_seen", [1, 2])
    def test_burst_of_200(self, routing, workers_seen):
        """None of it is scraped yet: own counts alone spread it over 4 equal servers."""
        routing.configure(*(server(row) for row in range(4)))
        group = routing.find(None)
        for number in range(200):
            chosen = routing.router.choose(group, ())
            assert chosen is not None
            routing.table.in_flight_columns[number % workers_seen][chosen.row] += 1
        assert routing.table.in_flight_totals()[:4] == [50] * 4

    @pytest.mark.parametrize(
        "policy", ["load", "least_inflight", "power_of_two", "round_robin", "random"]
    )
    def test_policy_is_a_setting(self, routing, policy):
        routing.configure(server(0), server(1), policy=policy)
        routing.table.servers.foreign_milli[0] = 8000
        group = routing.find(None)
        rows = Counter(pool.row for _ in range(200) if (pool := routing.router.choose(group, ())))
        if policy in ("load", "power_of_two"):
            assert rows == {1: 200}
        elif policy == "round_robin":
            assert rows == {0: 100, 1: 100}
        else:
            assert 60 < rows[0] < 140


class TestChangesOfState:
    """States come by the score table alone, between two messages."""

    def test_a_change_counts_for_the_next_choice(self, routing):
        routing.configure(server(0, models=("a",)), server(1, models=("a", "b")))
        assert routing.rows("a") == {0, 1}
        routing.table.set_state(0, DOWN)
        assert routing.rows("a") == routing.rows("b") == routing.rows(None) == {1}
        routing.table.set_state(1, DRAINING)
        assert routing.rows("a") == routing.rows("b") == routing.rows(None) == set()
        routing.table.set_state(0, TRIAL)
        assert routing.rows("a") == routing.rows(None) == {0}
        assert routing.rows("b") == set()

    def test_a_group_that_was_not_asked_meanwhile_misses_nothing(self, routing):
        routing.configure(server(0, models=("a",)), server(1, models=("a", "b")))
        assert routing.rows("b") == {1}
        routing.table.set_state(1, COOLING)
        routing.table.set_state(0, DOWN)
        assert routing.rows("a") == {1}
        routing.table.set_state(1, DOWN)
        assert routing.rows("a") == set()
        assert routing.rows("b") == set()

    def test_the_row_of_a_removed_server_may_be_anothers(self, routing):
        """The row was given away before the message of the removal came."""
        routing.configure(server(0), server(1))
        put_server(routing.table, 0, UP, generation=2)
        assert routing.rows() == {1}


class TestExplanation:
    @pytest.mark.parametrize(
        ("states", "in_flight", "model", "expected"),
        [
            pytest.param([UP, UP], [2, 3], None, (0.25, "lowest of 2"), id="lowest"),
            pytest.param([UP, UP], [2, 2], "a", (0.25, "tie of 2 at random"), id="tie"),
            pytest.param([UP, DOWN], [4, 0], None, (0.5, "only usable server"), id="only"),
            pytest.param(
                [UP, DOWN], [4, 0], "a", (0.5, "only usable server with the model"), id="only-model"
            ),
            pytest.param([TRIAL, DOWN], [0, 0], "a", (0.0, "trial"), id="trial"),
            pytest.param(
                [COOLING, DOWN],
                [8, 0],
                "a",
                (1.0, "cooling down, but there is no other"),
                id="cooling",
            ),
            pytest.param([DOWN, DOWN], [0, 0], None, None, id="none"),
        ],
    )
    def test_a_choice_says_why(self, routing, states, in_flight, model, expected):
        """The score is that before the request, the reason that of the state or the policy."""
        servers = (server(row, state, models=("a",)) for row, state in enumerate(states))
        routing.configure(*servers)
        for row, own in enumerate(in_flight):
            routing.table.in_flight_columns[0][row] = own
        choice = routing.router.choose_and_explain(routing.find(model), ())
        assert (choice and (choice.score, choice.reason)) == expected


class TestReconfigure:
    def pool(self, routing, row: int) -> Server:
        return next(pool for pool in routing.router.servers if pool.row == row)

    def idle(self, pool: Server) -> MemoryTransport:
        """Give a pool an idle connection."""
        upstream = UpstreamConnection(pool, 65536)
        transport = MemoryTransport(upstream)
        pool.give_back(upstream, 1000.0)
        return transport

    def test_keeps_servers_and_their_connections(self, routing):
        routing.configure(server(0), server(1))
        before = routing.router.servers
        idle = self.idle(before[0])
        routing.configure(server(1, COOLING), server(0, weight=2.0, models=("a",)))
        assert routing.router.servers == (before[1], before[0])
        assert idle.end is End.OPEN
        assert (before[0].capacity, before[0].models) == (16.0, ("a",))
        assert before[1].state is COOLING

    def test_settings_reach_kept_pools(self, routing):
        routing.configure(server(0), pool_idle_timeout=4.0)
        pool = self.pool(routing, 0)
        self.idle(pool)
        routing.configure(server(0), pool_idle_timeout=0.5)
        assert pool.take_idle(1000.6) is None

    def test_closes_the_connections_of_removed_servers(self, routing):
        routing.configure(server(0), server(1))
        gone, stays = self.idle(self.pool(routing, 0)), self.idle(self.pool(routing, 1))
        routing.configure(server(1))
        assert (gone.end, stays.end) == (End.ABORTED, End.OPEN)
        assert routing.rows() == {1}

    def test_a_row_given_to_another_server(self, routing):
        routing.configure(server(0, url="http://old:8000"))
        old = self.pool(routing, 0)
        idle = self.idle(old)
        routing.configure(server(0, url="http://new:8000", generation=2))
        new = self.pool(routing, 0)
        assert new is not old
        assert (new.url, new.generation) == ("http://new:8000", 2)
        assert idle.end is End.ABORTED

    def test_a_connection_given_back_to_a_removed_server_is_closed(self, routing):
        """Its exchange went on while the server was removed; nobody would ever use or expire it."""
        routing.configure(server(0), server(1))
        pool = self.pool(routing, 0)
        routing.configure(server(1))
        assert self.idle(pool).end is not End.OPEN

    def test_a_removed_server_is_not_chosen_by_exchanges_under_way(self, routing):
        """They hold the servers of their model from before; a retry must not go to a row that may
        be another server's already."""
        routing.configure(server(0), server(1))
        group, tried = routing.find(None), [self.pool(routing, 1)]
        routing.configure(server(1))
        assert routing.router.choose(group, tried) is None

    @pytest.mark.parametrize("state", [DOWN, DRAINING])
    def test_a_server_taken_out_is_not_chosen_by_exchanges_under_way(self, routing, state):
        routing.configure(server(0), server(1))
        group, tried = routing.find(None), [self.pool(routing, 1)]
        routing.table.set_state(0, state)
        assert routing.router.choose(group, tried) is None

    def test_models_move(self, routing):
        routing.configure(server(0, models=("a",)), server(1, models=("b",)))
        routing.configure(server(0, models=("b",)), server(1, models=("a",)))
        assert routing.rows("a") == {1}
        assert routing.rows("b") == {0}

    def test_round_robin_goes_on_with_other_settings(self, routing):
        """A threshold that it does not know is no reason to start over."""
        rows = []
        for number in range(30):
            settings = {"policy": "round_robin", "busy_threshold": number / 10}
            routing.configure(server(0), server(1), server(2), **settings)
            chosen = routing.router.choose(routing.find(None), ())
            assert chosen is not None
            rows.append(chosen.row)
        assert Counter(rows) == {0: 10, 1: 10, 2: 10}

    def test_round_robin_goes_on(self, routing):
        """Configure comes with every change of models: the turn must not start over each time."""
        rows = []
        for _ in range(30):
            routing.configure(server(0), server(1), server(2), policy="round_robin")
            chosen = routing.router.choose(routing.find(None), ())
            assert chosen is not None
            rows.append(chosen.row)
        assert Counter(rows) == {0: 10, 1: 10, 2: 10}


def test_names_are_not_looked_for_where_they_do_not_matter(routing):
    """One model everywhere, not known yet: the body is not read at all."""
    routing.configure(server(0), server(1))
    body = b'{"model":"x"}'
    assert requested_model(CHAT, JSON, body) == "x"
    group, _, _ = routing.router.find(CHAT, JSON, body)
    other, _, _ = routing.router.find(CHAT, JSON, b"not json")
    assert group is other


class TestRefusals:
    """A server that fails at once is never the least loaded one for long."""

    @pytest.mark.parametrize("policy", ["load", "least_inflight", "power_of_two"])
    def test_it_looks_loaded(self, routing, policy):
        routing.configure(server(0), server(1), policy=policy)
        routing.table.worker_cells(1).in_flight[1] = 4
        routing.router.refusals.note(0)
        assert routing.rows() == {1}
        routing.router.refusals.forget(0)
        assert routing.rows() == {0}

    @pytest.mark.parametrize("policy", ["load", "least_inflight", "power_of_two"])
    def test_it_does_so_for_a_while(self, routing, policy):
        routing.configure(server(0), server(1), policy=policy)
        routing.table.worker_cells(1).in_flight[1] = 1
        routing.router.refusals.note(0)
        ticks = 0
        while routing.rows() == {1}:
            routing.router.refusals.decay()
            ticks += 1
        assert 2 <= ticks <= 10

    def test_all_refuse_alike(self, routing):
        routing.configure(server(0), server(1))
        routing.router.refusals.note(0)
        routing.router.refusals.note(1)
        assert routing.rows() == {0, 1}

    def test_the_only_one_is_asked(self, routing):
        routing.configure(server(0))
        routing.router.refusals.note(0)
        assert routing.rows() == {0}

    def test_the_table_is_left_alone(self, routing):
        routing.configure(server(0), server(1))
        routing.router.refusals.note(0)
        routing.rows()
        assert not any(routing.table.in_flight_totals())
