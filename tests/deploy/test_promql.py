import pytest

from tests.deploy.promql import Rendered

RENDERED = Rendered.of_example()


class TestFaults:
    @pytest.mark.parametrize(
        "expression",
        [
            "sum by (server) (rate(fastroute_events_total[5m]))",
            'fastroute_server_state{job="$job", server=~"$server", state="down"} == 1',
            'rate(fastroute_requests_total{status_class=~"5xx|failed"}[5m])',
            "sum by (job, le) (rate(fastroute_first_byte_seconds_bucket[5m]))",
            "job:fastroute_requests:rate5m > 1",
            'up{job="fastroute"} == 0',
        ],
    )
    def test_none(self, expression):
        assert RENDERED.faults(expression) == []

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("fastroute_event_total", "no metric fastroute_event_total"),
            ("fastroute_first_byte_seconds", "no metric fastroute_first_byte_seconds"),
            ('fastroute_in_flight{state="up"}', "fastroute_in_flight has no label state"),
            (
                'fastroute_server_state{state=~"up|dead"}',
                "fastroute_server_state has no state dead",
            ),
            ("sum by (model) (fastroute_in_flight)", "no label model"),
        ],
    )
    def test_found(self, expression, expected):
        assert RENDERED.faults(expression) == [expected]
