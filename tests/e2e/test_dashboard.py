"""/dashboard in a real browser, served by a real router with stand-in servers."""

import contextlib
import http.client
import json
import re
import socket
import time
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from fastroute.views.dashboard.page import FOLDER
from fastroute.wording import count, percent, seconds
from tests.support.browser import Browser, browser
from tests.support.command import RunningCommand, running, wait_until
from tests.support.config_file import write_config
from tests.support.ports import free_port
from tests.support.standins import StandInProcess, standin_process
from tests.support.traffic import traffic

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
NOWHERE = "http://127.0.0.1:9"
LONG = f"http://{'x' * 60}.invalid:8000"
MARKUP = "<img src=x onerror=window.hacked=1>"
MODELS = ("--model", "standin", "--model", "lora")
DASH = "\N{EN DASH}"
UNITS = {"m": "min"}

KEEP_WHAT_IS_TOLD = """
const asked = window.fetch;
window.asked = 0;
window.fetch = async (...all) => {
  window.asked += 1;
  const reply = await asked(...all);
  const copy = reply.clone();
  reply.json = async () => (window.told = await copy.json());
  return reply;
};
"""
"""Keeps each report in `window.told`, so that a test can compare it with what is shown."""

THOUSAND_SERVERS = """
const full = { getItem: () => null, setItem: () => { throw new Error("no room"); } };
const recent = { first_byte_p50_seconds: 1, first_byte_p99_seconds: 2, tokens_per_second: 3,
  errors_per_second: null };
const summary = { recent, overall_utilization_percent: 50 };
const history = new History(full);
for (let step = 1000; step < 2000; step += 1) {
  const server = { url: `http://${step}`, utilization_percent: 40, recent };
  history.add({ summary, servers: [server] }, step * STEP);
}
const lengths = [...history.series.values()].flatMap((kinds) =>
  Object.values(kinds).map((values) => values.length));
return [history.series.size, Math.max(...lengths), Math.min(...lengths)];
"""

READ_TABLE = """
const cells = (row) => [...row.children].map((cell) => cell.innerText.trim());
const tiles = [...document.querySelectorAll(".tile dd")].map((tile) => tile.innerText.trim());
return { told: window.told, tiles, rows: [...document.querySelectorAll("#rows tr")].map(cells) };
"""


@pytest.fixture(name="window", scope="module")
def window_fixture():
    with browser() as window:
        window.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": KEEP_WHAT_IS_TOLD}
        )
        yield window


@pytest.fixture(name="page")
def page_fixture(window: Browser):
    """The browser, in desktop size; any output to its console fails the test."""
    window.resize(1440, 900)
    window.prefer("light")
    window.faults()
    yield window
    faults = window.faults()
    window.get("about:blank")
    assert faults == []


@pytest.fixture(name="server", scope="module")
def server_fixture():
    with standin_process(*MODELS) as server:
        yield server


@pytest.fixture(name="router", scope="module")
def router_fixture(server: StandInProcess, tmp_path_factory):
    """A router shared by all tests that change nothing; one of its servers is up."""
    with started(tmp_path_factory.mktemp("shared"), server.url, NOWHERE, LONG) as router:
        yield router


def started(tmp_path: Path, *urls: str, options: tuple[str, ...] = RUN):
    """Run a router in front of some servers."""
    servers = [part for url in urls for part in ("--server", url)]
    return running(tmp_path, *options, "--log-level", "error", *servers)


@contextlib.contextmanager
def serving(page: Browser, tmp_path: Path, *urls: str, options: tuple[str, ...] = RUN):
    """Run a router, and leave its page before it stops."""
    with started(tmp_path, *urls, options=options) as router:
        yield router
        page.get("about:blank")


def shows(page: Browser, text: str, selector: str = "body", seconds: float = 5.0) -> None:
    """Wait until a text is visible."""
    try:
        wait_until(lambda: text in page.text(selector), seconds)
    except TimeoutError:
        raise AssertionError(f"no {text!r} in {page.text(selector)!r}") from None


def open_page(page: Browser, router: RunningCommand) -> None:
    page.get(f"{router.url}/dashboard")
    shows(page, "live", "#contact")


def names(page: Browser) -> list[str]:
    return page.run(
        "return [...document.querySelectorAll('#rows th')].map((name) => name.innerText)"
    )


def worded(text: str) -> str:
    """Return a number with its unit in the page's form, given the monitor's."""
    found = re.fullmatch(r"([\d.]+)([a-z%]+)", text)
    if found is None or found[2] in ("k",):
        return text.replace("-", DASH)
    return f"{found[1]}\u00a0{UNITS.get(found[2], found[2])}"


def marked(share: float | None) -> str:
    """Return a share, with its mark if it is high."""
    high = share or 0
    return worded(percent(share)) + (
        "\u00a0!!" if high >= 0.9 else "\u00a0!" if high >= 0.7 else ""
    )


def row_of(server: dict) -> list[str]:
    """Return the expected cells of a server, without its state."""
    engine, lately = server["detailed_metrics"], server["recent"]
    return [
        marked(server["utilization_percent"] / 100),
        count(engine["num_requests_running"]),
        count(engine["num_requests_waiting"]),
        count(server["in_flight"]),
        count(server["max_capacity"]),
        f"{server['score']:.2f}",
        marked(engine["gpu_cache_usage_perc"]),
        worded(percent(engine["prefix_cache_hits_total"] / engine["prefix_cache_queries_total"])),
        count(lately["requests_per_second"]),
        count(lately["tokens_per_second"]),
        worded(seconds(lately["first_byte_p50_seconds"])),
        worded(seconds(lately["first_byte_p99_seconds"])),
        count(server["errors"]),
        worded(seconds(server["scrape_age_seconds"])),
        ", ".join(server["models"]),
    ]


def tiles_of(report: dict) -> list[str]:
    summary = report["summary"]
    lately = summary["recent"]
    return [
        f"{summary['healthy_servers']} of {summary['total_servers']}",
        f"{marked(summary['overall_utilization_percent'] / 100)} of {summary['total_capacity']}",
        count(lately["requests_per_second"]),
        count(lately["tokens_per_second"]),
        worded(seconds(lately["first_byte_p50_seconds"]))
        + f"p99 {worded(seconds(lately['first_byte_p99_seconds']))}",
        count(lately["errors_per_second"]),
        count(summary["total_in_flight"]),
        count(sum(s["detailed_metrics"]["num_requests_waiting"] for s in report["servers"])),
    ]


class TestValues:
    def test_are_those_of_load_stats(self, page, server, tmp_path):
        with contextlib.ExitStack() as stack:
            slow = stack.enter_context(standin_process("--ttft", "0.02"))
            router = stack.enter_context(serving(page, tmp_path, server.url, slow.url))
            clients = stack.enter_context(traffic(router.port, clients=3))
            open_page(page, router)
            wait_until(lambda: clients.good > 100, 20)
            Select(page.find_element(By.ID, "sort")).select_by_visible_text("as configured")
            wait_until(partial(self._agree, page), 20)

    @staticmethod
    def _agree(page: Browser) -> bool:
        """Return True if all figures are those of the report that was drawn last.

        The report must show traffic to both servers: zeros would agree with anything.
        """
        read = page.run(READ_TABLE)
        servers = read["told"]["servers"]
        rates = ("requests_per_second", "tokens_per_second")
        if any((each["recent"][rate] or 0.0) <= 1 for each in servers for rate in rates):
            return False
        rows = [[row[0], *row[2:]] for row in read["rows"]]
        wanted = [[each["name"], *row_of(each)] for each in servers]
        return rows == wanted and read["tiles"] == tiles_of(read["told"])

    @pytest.mark.parametrize(
        ("name", "write", "numbers"),
        [
            pytest.param(
                "count", count,
                [0, 0.04, 0.125, 0.25, 0.3, 0.35, 0.75, 1, 1.25, 9.94, 9.95, 12.5, 13.5, 17, 99.5,
                 999.4, 999.5, 1234, 1250, 9949, 9950, 12_500, 85e6, 3e12],
                id="counts",
            ),
            pytest.param(
                "percent", percent,
                [0, 0.004, 0.005, 0.006, 0.125, 0.135, 0.25, 0.375, 0.5, 0.625, 0.999, 1.25],
                id="shares",
            ),
            pytest.param(
                "seconds", seconds,
                [0.0001, 0.00025, 0.0021, 0.00996, 0.0125, 0.046, 0.125, 0.25, 0.9994, 0.9996, 1.25,
                 1.3, 9.94, 9.96, 12.5, 119, 121, 150, 210, 7100, 7300, 170_000, 180_000],
                id="durations",
            ),
            pytest.param(
                "(each) => fixed(each, 2)", "{:.2f}".format,
                [0, 0.005, 0.124, 0.125, 0.126, 0.375, 0.625, 0.875, 1.005, 12.125],
                id="scores",
            ),
        ],
    )  # fmt: skip
    def test_are_written_as_by_the_monitor(self, page, name, write, numbers):
        page.get("about:blank")
        words = (FOLDER / "format.js").read_text()
        written = page.run(f"{words}\nreturn arguments[0].map({name});", numbers)
        assert written == [worded(write(number)) for number in numbers]


class TestProblems:
    def test_a_server_that_goes_down_shows_within_three_seconds(self, page, server, tmp_path):
        with standin_process() as dying, serving(page, tmp_path, server.url, dying.url) as router:
            open_page(page, router)
            shows(page, "No problems", "#notices")
            assert page.text("#tile-up dd") == "2 of 2"
            with traffic(router.port, clients=2):
                dying.kill()
                shows(page, f"127.0.0.1:{dying.port} has been down for", "#notices", 3.0)
            assert page.text("#tile-up dd") == "1 of 2"
            assert names(page)[0] == f"127.0.0.1:{dying.port}", "problems come first"
            first = page.text("#rows tr")
            assert "✕ down for" in first
            assert "Connection refused" in first
            assert page.title.startswith(f"✕ 127.0.0.1:{dying.port} is down: ")

    def test_an_outlier_is_shown_in_the_words_of_load_stats(self, page, server, tmp_path):
        with standin_process(*MODELS, "--slots", "1", "--ttft", "30") as full:
            with serving(page, tmp_path, server.url, full.url) as router, waiting(full, 6):
                open_page(page, router)
                shows(page, "waiting", "#notices")
                words = page.run("return window.told.servers[1].outlier")
                assert words == "5 waiting, the other none"
                assert page.text("#notices") == f"▲\n127.0.0.1:{full.port} {words}"
                assert f"▲ {words}" in page.text("#rows tr")

    def test_servers_down_for_the_same_reason_share_a_notice(self, page, tmp_path):
        with serving(page, tmp_path, NOWHERE, "http://127.0.0.1:10") as router:
            open_page(page, router)
            shows(page, "2 servers down:", "#notices", 10)
            assert page.text("#notices").count("127.0.0.1:") == 2

    def test_a_server_without_a_successful_scrape(self, page, server, tmp_path):
        """Such a server counts as usable, but "no problems" would mislead."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}"
            with serving(page, tmp_path, server.url, url) as router:
                open_page(page, router)
                shows(page, f"1 server without a successful scrape: {url[7:]}", "#notices", 10)

    def test_a_file_that_is_not_applied(self, page, server, tmp_path):
        path = tmp_path / "servers.toml"
        write_config(path, server.url)
        with serving(page, tmp_path, options=(*RUN, "--config", str(path))) as router:
            open_page(page, router)
            write_config(path, server.url, request_timeout=-1)
            shows(page, "Configuration not applied:", "#notices")
            shows(page, "request_timeout", "#notices")


@contextlib.contextmanager
def waiting(server: StandInProcess, requests: int):
    """Keep requests of other clients waiting at a server."""
    body = b'{"model": "standin", "prompt": "Hi"}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(requests):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        yield


class TestConnection:
    def test_lost_and_restored(self, page, server, tmp_path):
        options = ("run", "--host", "127.0.0.1", "--port", str(free_port()))
        with started(tmp_path, server.url, options=options) as router:
            open_page(page, router)
            shows(page, "No problems", "#notices")
        shows(page, "No response from fastroute since ", "#lost")
        lost = page.text("#lost")
        assert re.fullmatch(
            r"No response from fastroute since \d\d:\d\d:\d\d; retrying \(cannot connect\)", lost
        )
        assert "disconnected" in page.text("#contact")
        assert page.title == f"✕ disconnected {DASH} fastroute"
        assert page.run("return document.getElementById('main').className") == "stale"
        asked = page.run("return window.asked")
        wait_until(lambda: page.run("return window.asked") > asked)
        assert page.text("#lost") == lost, "the time is that of the last response"
        refused = page.faults()
        assert all("ERR_CONNECTION" in each or "ERR_EMPTY" in each for each in refused)
        with serving(page, tmp_path, server.url, NOWHERE, options=options):
            shows(page, "live", "#contact")
            assert not page.find_element(By.ID, "lost").is_displayed()
            assert len(names(page)) == 2
            wait_until(lambda: page.text("#tile-requests dd") == "0")
            page.faults()

    def test_an_invalid_response(self, page, router):
        open_page(page, router)
        page.run("const real = window.fetch; window.real = real;"
                 "window.fetch = async () => new Response('<html>', {status: 502})")  # fmt: skip
        shows(page, "retrying (/load-stats returned status 502)", "#lost")
        page.run("window.fetch = async () => new Response('{\"servers\": [')")
        shows(page, "retrying (/load-stats was truncated, or is not JSON)", "#lost")
        page.run("window.fetch = window.real")
        wait_until(lambda: not page.find_element(By.ID, "lost").is_displayed())

    def test_a_hidden_tab_asks_rarely(self, page, router):
        """It polls immediately when it becomes visible again."""
        hide = (
            "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange')); return window.asked"
        )
        open_page(page, router)
        asked = page.run(hide, True)
        wait_until(lambda: page.run("return window.asked") > asked)
        asked, began = page.run("return window.asked"), time.monotonic()
        wait_until(lambda: page.run("return window.asked") > asked)
        assert time.monotonic() - began > 3
        asked = page.run(hide, False)
        wait_until(lambda: page.run("return window.asked") > asked + 1, 3)


class TestServers:
    def test_come_and_go_with_the_file(self, page, server, tmp_path):
        path = tmp_path / "servers.toml"
        write_config(path, server.url, NOWHERE)
        with serving(page, tmp_path, options=(*RUN, "--config", str(path))) as router:
            open_page(page, router)
            assert sorted(names(page)) == sorted(["127.0.0.1:9", f"127.0.0.1:{server.port}"])
            write_config(path, server.url)
            wait_until(lambda: names(page) == ["127.0.0.1"], 3)
            write_config(path, "http://127.0.0.1:10", NOWHERE)
            wait_until(lambda: set(names(page)) == {"127.0.0.1:9", "127.0.0.1:10"}, 3)

    def test_are_sorted_and_found_by_keyboard(self, page, tmp_path):
        with serving(
            page, tmp_path, *(f"http://127.0.0.1:{port}" for port in (9, 101, 10))
        ) as router:
            open_page(page, router)
            head = page.find_element(By.CSS_SELECTOR, "#heads th.name")
            button = head.find_element(By.TAG_NAME, "button")
            button.send_keys(Keys.ENTER)
            assert names(page) == [f"127.0.0.1:{port}" for port in (9, 10, 101)]
            assert head.get_attribute("aria-sort") == "ascending"
            button.send_keys(Keys.SPACE)
            assert names(page) == [f"127.0.0.1:{port}" for port in (101, 10, 9)]
            page.find_element(By.ID, "find").send_keys(":10")
            assert names(page) == [f"127.0.0.1:{port}" for port in (101, 10)]
            assert page.text("#shown") == "2 of 3"
            page.refresh()
            wait_until(lambda: names(page) == [f"127.0.0.1:{port}" for port in (101, 10)])

    def test_a_hundred(self, page, tmp_path):
        """The page handles one response per second, at little cost."""
        urls = (f"http://127.0.0.1:{port}" for port in range(1, 101))
        with serving(page, tmp_path, *urls) as router:
            open_page(page, router)
            assert len(names(page)) == 100
            asked, spent = page.run("return window.asked"), page.cpu_seconds()
            wait_until(lambda: page.run("return window.asked") >= asked + 5)
            spent = page.cpu_seconds() - spent
            assert 0 < spent < 0.25 * (page.run("return window.asked") - asked)
            page.resize(390, 844, phone=True)
            assert page.run(BESIDE) == []


class TestHistory:
    def test_survives_a_reload(self, page, router):
        line = "document.querySelector('.chart .total').getAttribute('d')"
        points = f"return {line}.split(/[ML]/).length"
        open_page(page, router)
        wait_until(lambda: page.run(points) > 2, 15)
        kept = page.run(points)
        page.refresh()
        shows(page, "live", "#contact")
        assert page.run(points) >= kept

    def test_a_time_without_responses_is_a_gap(self, page, server, tmp_path):
        with serving(page, tmp_path, server.url) as router:
            open_page(page, router)
            page.run(
                "const kept = {load: Array(180).fill(null), p99: Array(180).fill(0.1),"
                " p50: Array(180).fill(0.1), tokens: Array(180).fill(1),"
                " errors: Array(180).fill(0)};"
                "kept.load.fill(0.5, 10, 60); kept.load.fill(0.25, 100, 178);"
                "window.addEventListener('pagehide', () => sessionStorage.setItem("
                "'fastroute.history', JSON.stringify({last: Math.floor(Date.now() / 5000),"
                " series: [['', kept]]})))"
            )
            page.refresh()
            shows(page, "live", "#contact")
            line = page.run("return document.querySelector('.chart .total').getAttribute('d')")
            # One more if the reload took long.
            assert line.count("M") in (2, 3)
            area = page.run("return document.querySelector('.total-area').getAttribute('d')")
            assert area.count("Z") == line.count("M")

    def test_is_bounded_however_many_servers_come_and_go(self, page):
        page.get("about:blank")
        script = (FOLDER / "history.js").read_text() + THOUSAND_SERVERS
        assert page.run(script) == [181, 180, 180]

    def test_values_are_read_with_mouse_and_keys(self, page, router):
        open_page(page, router)
        chart = page.find_element(By.CSS_SELECTOR, ".chart svg")
        output = "#charts .chart:nth-child(4) output"
        now = page.text(output)
        chart.send_keys(Keys.HOME)
        first = page.text(output)
        assert first[:8] != now[:8], "all charts show the moment"
        assert first.endswith(f"all {DASH}")
        assert first in page.run(
            "return document.querySelectorAll('.chart svg')[3].getAttribute('aria-label')"
        )
        chart.send_keys(Keys.ESCAPE)
        shows(page, "all 0", output)
        ActionChains(page).move_to_element(chart).perform()
        wait_until(lambda: page.text(output).endswith(f"all {DASH}"))
        moments = {first[:8], page.text(output)[:8], timed(page)}
        assert len(moments) == 3, "a moment in the middle of the 15 minutes"


def timed(page: Browser) -> str:
    """Return the time of the last response."""
    return page.text("#contact-text").removeprefix("live, ")


class TestSafety:
    def test_names_are_never_markup(self, page, server, tmp_path):
        path = tmp_path / "servers.toml"
        write_config(path, {"url": server.url, "models": [MARKUP, "b"]})
        with serving(page, tmp_path, options=(*RUN, "--config", str(path))) as router:
            open_page(page, router)
            shows(page, MARKUP, "#rows")
            assert page.run("return document.querySelectorAll('main img').length") == 0
            assert page.run("return window.hacked") is None

    def test_the_policy_is_enforced(self, page, router):
        open_page(page, router)
        refused = page.run("""
        const refused = [];
        try { document.body.innerHTML = "<b>x</b>"; } catch { refused.push("innerHTML"); }
        const script = document.createElement("script");
        try { script.textContent = "window.hacked = 1"; } catch { refused.push("script"); }
        const style = document.createElement("style");
        style.textContent = "body { color: red }";
        document.head.append(style);
        if (!style.sheet) refused.push("style");
        return refused;
        """)
        assert refused == ["innerHTML", "script", "style"]
        loads = page.execute_async_script("""
        const done = arguments[arguments.length - 1];
        const image = new Image();
        image.onload = () => done("loaded");
        image.onerror = () => done("refused");
        image.src = "/favicon.ico";
        """)
        assert loads == "refused"
        assert page.run("return window.hacked") is None
        assert any("Content Security Policy" in fault for fault in page.faults())

    def test_it_sends_requests_only_to_the_router(self, page, server, tmp_path):
        with serving(page, tmp_path, server.url) as router:
            open_page(page, router)
            asked = page.run(
                "return performance.getEntriesByType('resource').map((each) => each.name)"
            )
            assert {each for each in asked if not each.startswith("data:")} == {
                f"{router.url}/load-stats"
            }
            # Not even for an icon: such a request would be routed to a server.
            state = server.state()
            assert "favicon" not in json.dumps(state)

    def test_its_headers(self, router):
        whole = ask(router, "GET")
        assert whole["status"] == 200
        assert whole["content-type"] == "text/html; charset=utf-8"
        policy = whole["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert whole["cache-control"] == "no-cache"
        head = ask(router, "HEAD")
        assert head["body"] == b""
        assert head["content-length"] == str(len(whole["body"]))
        known = ask(router, "GET", {"If-None-Match": f'W/"old", {whole["etag"]}'})
        assert (known["status"], known["body"]) == (304, b"")
        assert known["etag"] == whole["etag"]
        assert ask(router, "GET", {"If-None-Match": '"old"'})["status"] == 200
        assert ask(router, "POST")["status"] == 405


def ask(router: RunningCommand, method: str, fields: dict[str, str] | None = None) -> dict:
    """Return the response's headers by name, its status and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, "/dashboard", headers=fields or {})
        reply = connection.getresponse()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return {**found, "status": reply.status, "body": reply.read()}


BESIDE = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
return [...document.querySelectorAll("body *")]
  .filter((each) => each.getBoundingClientRect().right > width && !each.closest(".table-room td"))
  .map((each) => `${each.tagName} ${each.id} ${each.className}`);
"""
"""Returns the elements that make the page wider than the screen."""

CONTRAST = """
const names = ["text", "quiet", "good", "warn", "bad", "link"];
const backs = ["page", "card", "warn-back", "bad-back", "calm-back"];
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const probe = document.body.appendChild(document.createElement("i"));
const light = (name) => {
  probe.style.color = `var(--${name})`;
  canvas.fillStyle = getComputedStyle(probe).color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = {};
for (const name of names) for (const back of backs) {
  const [dark, bright] = [light(name), light(back)].sort((a, b) => a - b);
  found[`${name} on ${back}`] = (bright + 0.05) / (dark + 0.05);
}
return found;
"""


class TestLook:
    @pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
    def test_light_and_dark(self, page, router, scheme, is_dark):
        page.prefer(scheme)
        open_page(page, router)
        back = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", back))) < 100) == is_dark
        weak = {what: ratio for what, ratio in page.run(CONTRAST).items() if ratio < 4.5}
        assert weak == {}

    @pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440, 2560])
    def test_the_page_does_not_overflow(self, page, router, width):
        page.resize(width, 844, phone=width < 500)
        open_page(page, router)
        assert page.run(BESIDE) == []

    def test_everything_has_an_accessible_name(self, page, router):
        """Screen readers find a name for each control and each chart."""
        open_page(page, router)
        nameless = page.run("""
        const named = (each) => each.innerText || each.getAttribute("aria-label") ||
          (each.labels && each.labels.length);
        return [...document.querySelectorAll("button, input, select, a, svg, [tabindex='0']")]
          .filter((each) => !named(each) && !each.getAttribute("aria-labelledby"))
          .map((each) => each.outerHTML);
        """)
        assert nameless == []
        assert page.run("return document.documentElement.lang") == "en"
