"""Each server is scraped independently, in the cheapest way that it supports."""

import asyncio
import contextlib
import itertools
import time

import pytest

from fastroute.control.watch.scraper import (
    ALL_METRICS,
    JITTER,
    OUR_METRICS,
    ScrapeError,
    Scraper,
    keep_scraping,
)
from fastroute.net.http_client import ServerClient
from fastroute.rules.load import ACCEPTED, NAMES, LoadReport
from fastroute.server_address import ServerAddress
from fastroute.standin.engine import Mode, Pace, Sequence
from tests.support.descriptors import no_descriptors
from tests.support.scripted import read_request, scripted
from tests.support.standins import standin, until

OURS = b"vllm:num_requests_running 1\nvllm:num_requests_waiting 2\n"
EVERYTHING = OURS + b"".join(b"# TYPE x%d gauge\nx%d 1\n" % (at, at) for at in range(99))
REPORT = LoadReport(running=1, waiting=2)
CLOCK = 0.002
"""Seconds by which a loop's timer may be early; uvloop's has millisecond resolution."""


def reply(body, status=200):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class MetricsServer:
    """Sends given responses by path; None closes the connection, "never" sends nothing.

    After a response in HTTP/1.0 it closes the connection, too.
    """

    def __init__(self, ours, everything):
        self.answers = {OUR_METRICS: ours, ALL_METRICS: everything}
        self.asked = []
        self.accepted = set()

    async def __call__(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head, _ = await read_request(reader)
                path = head.split(b" ")[1].decode()
                self.asked.append(path)
                fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:-2])
                self.accepted.add(fields[b"Accept"])
                answer = self.answers[path]
                if answer == "never":
                    await reader.read()
                    return
                if answer is None:
                    return
                writer.write(answer)
                if answer.startswith(b"HTTP/1.0"):
                    return


class Server:
    """Records what a loop reports."""

    def __init__(self, interval=0.01, timeout=5.0):
        self.scrape_interval = interval
        self.scrape_timeout = timeout
        self.in_flight = []
        self.reports = []
        self.failures = []
        self.skips = []

    def own_in_flight(self):
        return self.in_flight.pop(0) if self.in_flight else 0

    def scraped(self, report, own_in_flight, at_ns):
        self.reports.append((report, own_in_flight, at_ns))

    def scrape_failed(self, reason):
        self.failures.append(reason)

    def skipped(self, reason):
        self.skips.append(reason)

    def gaps(self):
        times = [at_ns / 1e9 for _, _, at_ns in self.reports]
        return [then - now for now, then in itertools.pairwise(times)]


def client_of(url):
    return ServerClient(ServerAddress.from_url(url))


@contextlib.asynccontextmanager
async def scraping(url, server, rng=lambda: 0.5):
    task = asyncio.create_task(keep_scraping(server, client_of(url), rng))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Ignorer:
    def produced(self, sequence, count, finish_reason):
        pass


# Filtered or not.


@pytest.mark.parametrize(
    ("ours", "everything", "asked"),
    [
        pytest.param(reply(OURS), None, [OUR_METRICS] * 3, id="filtered"),
        pytest.param(
            reply(EVERYTHING),
            reply(EVERYTHING),
            [OUR_METRICS, ALL_METRICS, ALL_METRICS],
            id="names-ignored",
        ),
        pytest.param(
            reply(b"no", 404),
            reply(EVERYTHING),
            [OUR_METRICS, ALL_METRICS, ALL_METRICS, ALL_METRICS],
            id="not-found",
        ),
        pytest.param(
            reply(b"", 307),
            reply(OURS),
            [OUR_METRICS, ALL_METRICS, ALL_METRICS, ALL_METRICS],
            id="sent-elsewhere",
        ),
        pytest.param(
            reply(b""),
            reply(EVERYTHING),
            [OUR_METRICS, ALL_METRICS, ALL_METRICS, ALL_METRICS],
            id="empty-as-with-several-api-processes",
        ),
    ],
)
async def test_the_way_is_found_and_remembered(ours, everything, asked):
    handler = MetricsServer(ours, everything)
    async with scripted(handler) as server:
        with contextlib.closing(client_of(server.url)) as client:
            scraper = Scraper(client)
            for _ in range(3):
                assert await scraper.scrape(5) == REPORT
    assert handler.asked == asked
    assert server.connections == 1


@pytest.mark.parametrize(
    ("ours", "everything", "reason", "asked"),
    [
        pytest.param(reply(b"", 500), None, "/metrics returned 500", [OUR_METRICS], id="500"),
        pytest.param(
            reply(b"", 404),
            reply(b"", 404),
            "/metrics returned 404",
            [OUR_METRICS, ALL_METRICS],
            id="none-at-all",
        ),
        pytest.param(
            reply(OURS.replace(b"1", b"NaN")),
            reply(EVERYTHING.replace(b"running 1", b"running NaN")),
            "vllm:num_requests_running is nan",
            [OUR_METRICS, ALL_METRICS],
            id="not-a-number",
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\n\r\n" + EVERYTHING[:-1],
            None,
            "the metrics are truncated",
            [OUR_METRICS],
            id="cut-off",
        ),
        pytest.param(None, None, "closed without an answer", [OUR_METRICS], id="closed"),
    ],
)
async def test_no_report(ours, everything, reason, asked):
    """The next round tries filtering again."""
    handler = MetricsServer(ours, everything)
    async with scripted(handler) as server:
        with contextlib.closing(client_of(server.url)) as client:
            scraper = Scraper(client)
            for _ in range(2):
                with pytest.raises(ScrapeError, match=reason):
                    await scraper.scrape(5)
    assert handler.asked == asked * 2


async def test_the_formats_that_are_read_are_accepted():
    handler = MetricsServer(reply(b"", 404), reply(EVERYTHING))
    async with scripted(handler) as server:
        with contextlib.closing(client_of(server.url)) as client:
            await Scraper(client).scrape(5)
    assert handler.asked == [OUR_METRICS, ALL_METRICS]
    assert handler.accepted == {ACCEPTED}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(OURS + b"# EOF\n", id="eof"),
        pytest.param(OURS + b"# EOF", id="eof-no-line-feed"),
        pytest.param(OURS[:-1], id="no-line-feed"),
        pytest.param(
            b'vllm:num_requests_running 1.0 1700.5\nvllm:num_requests_waiting 2 # {t="x"} 1 1.5\n'
            b"vllm:kv_cache_usage_perc one half\n# EOF",
            id="time-stamp-and-exemplar-and-a-bad-sample",
        ),
    ],
)
async def test_forms_of_exporters(text):
    """Each of these was no report, so the server was chosen without its load."""
    handler = MetricsServer(reply(text), None)
    async with scripted(handler) as server:
        with contextlib.closing(client_of(server.url)) as client:
            assert await Scraper(client).scrape(5) == REPORT
    assert handler.asked == [OUR_METRICS]


async def test_a_newer_server_behind_the_address_is_noticed():
    handler = MetricsServer(reply(b"", 404), reply(EVERYTHING))
    async with scripted(handler) as server:
        with contextlib.closing(client_of(server.url)) as client:
            scraper = Scraper(client)
            await scraper.scrape(5)
            handler.answers[ALL_METRICS] = None
            with pytest.raises(ScrapeError):
                await scraper.scrape(5)
            handler.answers[OUR_METRICS] = reply(OURS)
            handler.asked.clear()
            assert await scraper.scrape(5) == REPORT
    assert handler.asked == [OUR_METRICS]


async def test_the_load_of_a_server():
    async with standin(slots=1, models=("tiny",)) as server:
        with contextlib.closing(client_of(server.url)) as client:
            scraper = Scraper(client)
            for _ in range(3):
                server.engine.submit(Sequence(Ignorer(), 0, Pace(60, 60), 100, 4))
            report = await scraper.scrape(5)
            assert (report.running, report.waiting, report.models) == (1, 2, ("tiny",))
            assert (report.prompt_tokens, report.generation_tokens) == (100, 0)
            assert not report.asleep
            server.engine.set_mode(Mode.ASLEEP)
            assert (await scraper.scrape(5)).asleep
            server.engine.end_all("abort")


def test_all_that_is_read_is_asked_for():
    assert OUR_METRICS.count("name[]=") == len(set(NAMES)) == len(NAMES)
    assert all(name.startswith("vllm:") for name in NAMES)


# The loop.


async def test_it_goes_on_through_failures():
    handler = MetricsServer(reply(OURS), None)
    server = Server()
    async with scripted(handler) as script, scraping(script.url, server):
        await until(lambda: len(server.reports) >= 2)
        handler.answers[OUR_METRICS] = reply(b"", 503)
        await until(lambda: len(server.failures) >= 2)
        handler.answers[OUR_METRICS] = reply(OURS)
        seen = len(server.reports)
        await until(lambda: len(server.reports) >= seen + 2)
    assert set(server.failures) == {"/metrics returned 503"}
    assert {report for report, _, _ in server.reports} == {REPORT}


async def test_cancelled_it_leaves_no_connection():
    async with standin() as server:
        told = Server()
        async with scraping(server.url, told):
            await until(lambda: told.reports)
        await until(lambda: server.counters.connections_open == 0)


@pytest.mark.parametrize(
    ("before", "after", "own"),
    [
        pytest.param(3, 7, 7, id="more-began-meanwhile"),
        pytest.param(7, 3, 7, id="some-ended-meanwhile"),
    ],
)
async def test_own_requests_are_never_taken_for_others(before, after, own):
    server = Server(interval=60)
    server.in_flight = [before, after]
    began = time.monotonic_ns()
    async with standin() as other, scraping(other.url, server):
        await until(lambda: server.reports)
    _, counted, at_ns = server.reports[0]
    assert counted == own
    assert began <= at_ns <= time.monotonic_ns()


async def test_a_hung_or_slow_server_delays_no_other():
    handler = MetricsServer("never", "never")
    hung, well = Server(interval=0.02, timeout=0.3), Server(interval=0.02)
    async with scripted(handler) as script, standin() as server:
        async with scraping(script.url, hung), scraping(server.url, well):
            await until(lambda: len(hung.failures) >= 2, 10)
    assert set(hung.failures) == {"no response within 0.3 s"}
    # 30 are due; only 2 if it waited for the other server.
    assert len(well.reports) >= 10
    # One at a time: a slow server gets no further request meanwhile.
    assert len(handler.asked) <= len(hung.failures) + 1


async def test_rounds_keep_to_the_interval_and_spread_at_the_start():
    interval = 0.1
    async with standin() as other:
        early, late = Server(interval), Server(interval)
        async with (
            scraping(other.url, early, lambda: 0.0),
            scraping(other.url, late, lambda: 0.999),
        ):
            await until(lambda: len(early.reports) >= 4 and len(late.reports) >= 4)
    # The first is immediate for all, the second after a part of the interval.
    assert early.gaps()[0] < late.gaps()[0]
    assert late.gaps()[0] >= interval * 0.999 - CLOCK
    for server in (early, late):
        assert min(server.gaps()[1:]) >= interval * (1 - JITTER) - CLOCK


async def test_a_changed_interval_counts_from_the_next_round():
    server = Server(interval=0.001)
    async with standin() as other, scraping(other.url, server):
        await until(lambda: len(server.reports) >= 3)
        server.scrape_interval = 60
        seen = len(server.reports)
        await asyncio.sleep(0.05)
        assert len(server.reports) <= seen + 1


async def test_a_round_that_could_not_be_sent_is_no_failure():
    server = Server()
    async with standin() as other:
        with no_descriptors():
            async with scraping(other.url, server):
                await until(lambda: len(server.skips) >= 3)
        assert (server.failures, server.reports) == ([], [])
        async with scraping(other.url, server):
            await until(lambda: server.reports)
    assert server.failures == []
