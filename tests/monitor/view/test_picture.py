import pytest

from fastroute.monitor.view.picture import Sort
from tests.support.reports import down, picture, rates, server

SERVERS = (
    server(1, utilization_percent=10.0, first_byte_p99_seconds=2.0, recent=rates(None, None, 0.1)),
    server(2, utilization_percent=90.0, engine={"num_requests_waiting": 3}),
    down(3),
    server(4, utilization_percent=50.0, status="cooling", errors=9),
)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.CONFIG, "1 2 3 4"),
        (Sort.PROBLEMS, "3 4 2 1"),
        (Sort.LOAD, "2 4 1 3"),
        (Sort.WAITING, "2 1 4 3"),
        (Sort.FIRST_BYTE, "1 2 4 3"),
        (Sort.ERRORS, "1 4 3 2"),
    ],
)
def test_sort(sort, order):
    lines = picture(*SERVERS).lines(sort)
    assert " ".join(line.name.removeprefix("gpu-") for line in lines) == order


@pytest.mark.parametrize(
    ("status", "worse_than"),
    [("down", "ejected"), ("ejected", "asleep"), ("asleep", "cooling"), ("cooling", "trial")],
)
def test_problems_are_sorted_by_severity(status, worse_than):
    first, second = picture(server(1, status=worse_than), server(2, status=status)).lines(
        Sort.PROBLEMS
    )
    assert (first.server.status, second.server.status) == (status, worse_than)


def test_next_visits_every_order():
    sort, seen = Sort.CONFIG, []
    for _ in Sort:
        seen.append(sort)
        sort = sort.next()
    assert (sort, set(seen)) == (Sort.CONFIG, set(Sort))


def test_no_report_yet():
    assert picture(report=None).lines(Sort.CONFIG) == []
