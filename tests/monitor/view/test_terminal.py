import pytest

from fastroute.monitor.view.picture import MonitorData, MonitorState, Page
from fastroute.monitor.view.terminal import FOOTER, first_shown, frame, once
from tests.support.monitor_page import PAGE, with_picture
from tests.support.reports import EXAMPLE, down, picture, rates, report, server


def shown(
    made: MonitorData, state: MonitorState | None = None, width: int = 80, height: int = 24
) -> list[str]:
    return [line.plain for line in frame(made, state or MonitorState(), width, height)]


def hundred() -> MonitorData:
    return picture(*(down(n) if n % 40 == 0 else server(n) for n in range(1, 101)))


@pytest.mark.parametrize("page", list(Page))
@pytest.mark.parametrize("servers", [0, 1, 3, 100])
@pytest.mark.parametrize("size", [(80, 24), (200, 60), (40, 10), (10, 4), (1, 1)], ids=str)
def test_it_fits(page, servers, size):
    width, height = size
    made = picture(*(server(n) for n in range(servers)), log=["x" * 300] * 50, error="gone")
    lines = frame(made, MonitorState(page=page), width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert not any("\n" in line.plain for line in lines)


def test_two_servers():
    lines = shown(picture(*(server(n, recent=rates(2.0, 50.0, 0.0)) for n in (1, 2))))
    assert lines[:2] == [
        "fastroute 1.2.3 at http://router:8888  sort: config  up 1:06:40  12:00:01",
        "1/2 usable  ████░│░░░░░ 38% 4.5/12  3 in flight  4 req/s  100 tok/s  0 err/s  c…",
    ]
    assert lines[2].startswith(" SERVER")
    assert lines[3].startswith(" gpu-1")
    assert lines[4].startswith("    llama, score 0.56, hit 68%")
    assert lines[-1] == FOOTER


def test_before_the_first_report():
    assert shown(picture(report=None))[:2] == ["fastroute at http://router:8888", "connecting ..."]
    assert shown(picture(report=None, error="cannot connect"))[1] == "cannot connect"


class TestNotices:
    """Lines that an operator should read first."""

    def test_down(self):
        lines = shown(picture(server(1), down(2)))
        assert lines[2] == "gpu-2: down for 20s: cannot connect: Connection refused"

    def test_many_down(self):
        lines = shown(picture(server(1), down(2), down(3), down(4, "asleep")))
        assert lines[2] == "2 servers down: cannot connect: Connection refused: gpu-2, gpu-3"
        assert lines[3] == "gpu-4: down for 20s: asleep"

    def test_ejected_and_asleep(self):
        ejected = down(2, "5 of 6 requests failed") | {"status": "ejected"}
        asleep = down(3, "its engine is asleep") | {"status": "asleep"}
        lines = shown(picture(server(1), asleep, ejected))
        assert lines[2] == "gpu-2: ejected for 20s: 5 of 6 requests failed"
        assert lines[3] == "gpu-3: asleep for 20s: its engine is asleep"

    @pytest.mark.parametrize(
        ("models", "names"), [(["llama", "qwen"], "llama, qwen"), (["*"], "any model")]
    )
    def test_panic_mode(self, models, names):
        notice = shown(picture(report=report(server(1), panic_models=models)))[2]
        whole = f"panic mode: requests for {names} go to ejected servers, no other is usable"
        assert whole.startswith(notice.removesuffix("…"))

    def test_outlier(self):
        lines = shown(picture(server(1), server(2), server(3, engine={"num_requests_waiting": 4})))
        assert lines[2] == "gpu-3: 4x the waiting of the others (4 against 1)"

    def test_disconnected(self):
        lines = shown(picture(server(1), error="cannot connect: Connection refused"))
        assert "DISCONNECTED" in lines[0]
        assert lines[2] == "disconnected, retrying: cannot connect: Connection refused"

    def test_configuration(self):
        config = EXAMPLE["summary"]["config"] | {"error": "servers.toml: line 3"}
        made = picture(server(1), report=report(server(1), config=config))
        assert shown(made)[2] == "configuration not applied: servers.toml: line 3"

    def test_a_name_that_cannot_be_resolved(self):
        name = EXAMPLE["summary"]["dns_names"][0] | {
            "url": "http+dns://vllm:8000",
            "warning": "it has no address\x1b[2J",
        }
        made = picture(server(1), report=report(server(1), dns_names=[name]))
        assert shown(made)[2] == "http+dns://vllm:8000: it has no address\\u001b[2J"

    def test_unrouted(self):
        notice = shown(picture(report=report(down(1), unrouted_per_second=2.5)))[2]
        assert notice == "2.5 requests/s rejected: no usable server"

    def test_more_than_fit(self):
        servers = [down(number, f"reason {number}") for number in range(1, 9)]
        lines = shown(picture(*servers))
        assert lines[2:5] == [
            "gpu-1: down for 20s: reason 1",
            "gpu-2: down for 20s: reason 2",
            "(and 5 more) gpu-3: down for 20s: reason 3",
        ]
        assert lines[5].startswith(" SERVER")


class TestManyServers:
    def test_start(self):
        lines = shown(hundred())
        assert lines[4].startswith(" gpu-1 ")
        assert lines[-2].startswith(" 1-18 of 100    llama, score")

    def test_end(self):
        last = "http://gpu-100.cluster.local:8000"
        lines = shown(hundred(), MonitorState(selected=last))
        assert lines[-3].startswith(" gpu-100 ")
        assert lines[-2].startswith(" 83-100 of 100")

    def test_the_selected_one_is_in_reverse(self):
        selected = "http://gpu-50.cluster.local:8000"
        lines = frame(hundred(), MonitorState(selected=selected), 80, 24)
        (marked,) = [line for line in lines if any(s.style == "reverse" for s in line.spans)]
        assert marked.plain.startswith(" gpu-50 ")
        # Only its name: colours in reverse are hard to read.
        (name,) = [span for span in marked.spans if span.style == "reverse"]
        assert marked.plain[name.start : name.end].strip() == "gpu-50"

    @pytest.mark.parametrize(
        ("selected", "total", "first"), [(0, 100, 0), (50, 100, 45), (99, 100, 90), (3, 5, 0)]
    )
    def test_first_shown(self, selected, total, first):
        assert first_shown(selected, total, 10) == first


class TestLog:
    log = tuple(f"line {number}" for number in range(100))

    def page(self, **fields) -> list[str]:
        return shown(picture(server(1), **fields), MonitorState(page=Page.LOG))[2:-1]

    def test_the_last_lines(self):
        assert self.page(log=self.log) == list(self.log[-21:])

    def test_scrolled(self):
        lines = shown(picture(server(1), log=self.log), MonitorState(page=Page.LOG, scroll=10))[
            2:-1
        ]
        assert lines == list(self.log[-31:-10])
        lines = shown(picture(server(1), log=self.log), MonitorState(page=Page.LOG, scroll=1000))[
            2:-1
        ]
        assert lines == list(self.log[:21])

    def test_of_a_router_elsewhere(self):
        assert self.page()[0] == "the log is written where that router runs, not here"

    def test_empty(self):
        assert self.page(log=[])[0] == "nothing logged yet"


def test_paused_and_draining():
    worker = EXAMPLE["summary"]["workers"][0] | {"draining": True}
    made = picture(report=report(server(1), workers=[worker]))
    assert shown(made, MonitorState(paused=True))[0].startswith(
        "fastroute 1.2.3  DRAINING  PAUSED at "
    )


def test_once():
    lines = [line.plain for line in once(picture(server(1), down(2)), 160)]
    assert lines[0].startswith("1/2 usable")
    assert lines[1] == "gpu-2: down for 20s: cannot connect: Connection refused"
    assert [line.split()[0] for line in lines[3:]] == ["SERVER", "gpu-1", "gpu-2", "cannot"]


def test_the_picture_in_the_documentation():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_picture(page), "run: python -m tests.support.monitor_page"
