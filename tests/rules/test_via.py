"""Via shows a request's way; a request in a loop is refused."""

import pytest

from fastroute.errors import BadRequest
from fastroute.rules.via import MAX_HOPS, NAME, name_in_via, with_own_hop

OWN = name_in_via("a1b2c3d4")
MANY = b", ".join([b"1.1 p"] * MAX_HOPS)


def test_names():
    assert OWN == b"fastroute-a1b2c3d4"
    assert name_in_via("") == NAME


@pytest.mark.parametrize(
    "via",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"1.1 fastroute", id="another-without-a-mark"),
        pytest.param(b"1.1 fastroute-ffffffff", id="another-mark"),
        pytest.param(b"1.1 %b5" % OWN, id="a-longer-mark"),
        pytest.param(b"1.1 p (not %b)" % OWN, id="in-a-comment"),
        pytest.param(MANY, id="many"),
        pytest.param(MANY + b", , ,", id="many-and-empty-members"),
        pytest.param(MANY + b" (a, b, c)", id="commas-in-a-comment"),
    ],
)
def test_no_loop(via):
    assert with_own_hop(via, OWN) == via + b", 1.1 fastroute-a1b2c3d4"


@pytest.mark.parametrize(
    ("via", "message"),
    [
        pytest.param(b"1.1 " + OWN, "has passed this router before", id="here"),
        pytest.param(b"1.0 p, HTTP/1.1 %b (x), 2 q" % OWN, "this router before", id="between"),
        pytest.param(MANY + b",1.1 q", "has passed 11 proxies", id="too-many"),
    ],
)
def test_loop(via, message):
    with pytest.raises(BadRequest, match=message) as refused:
        with_own_hop(via, OWN)
    assert refused.value.status == 508


def test_without_a_mark_no_router_is_taken_for_this_one():
    assert with_own_hop(b"1.1 fastroute", NAME) == b"1.1 fastroute, 1.1 fastroute"


def test_the_first_hop():
    assert with_own_hop(None, OWN) == b"1.1 fastroute-a1b2c3d4"
