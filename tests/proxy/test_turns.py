"""Costly work waits for its turn, and the connections have their turns in order."""

import pytest

from fastroute.proxy.turns import TURN_S, Turns


class Loop:
    """Keeps what is to be called in the next turn."""

    def __init__(self):
        self.soon = []

    def turn(self):
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class Waiter:
    """A connection with several pieces of work, each as long as a whole turn or a part of it."""

    def __init__(self, turns, name, log, *, pieces=1, seconds=TURN_S):
        self.turns, self.name, self.log = turns, name, log
        self.pieces, self.seconds = pieces, seconds

    def take_turn(self):
        if self.turns.is_over:
            self.turns.wait(self)
            return
        self.log.append(self.name)
        self.turns.charge(self.seconds)
        self.pieces -= 1
        if self.pieces:
            self.turns.wait(self)


@pytest.fixture(name="loop")
def loop_fixture():
    return Loop()


@pytest.fixture(name="turns")
def turns_fixture(loop):
    return Turns(lambda callback: loop.soon.append(callback))


def test_a_turn_is_over_after_so_much_work(turns, loop):
    turns.charge(TURN_S * 0.6)
    assert not turns.is_over
    turns.charge(TURN_S * 0.6)
    assert turns.is_over
    assert len(loop.soon) == 1, "one callback for a turn, however much is charged"
    loop.turn()
    assert (turns.is_over, turns.spent) == (False, 0.0)
    assert not loop.soon, "an idle loop has no more to do"


def test_those_that_wait_take_turns(turns, loop):
    log = []
    turns.charge(TURN_S)
    for name in "ab":
        turns.wait(Waiter(turns, name, log, pieces=3))
    turns.wait(Waiter(turns, "c", log))
    for _ in range(7):
        loop.turn()
    assert "".join(log) == "abcabab"
    assert len(turns) == 0
    loop.turn()
    assert not loop.soon


def test_short_pieces_share_a_turn(turns, loop):
    log = []
    for name in "abcd":
        turns.wait(Waiter(turns, name, log, seconds=TURN_S * 0.4))
    loop.turn()
    assert "".join(log) == "abc"
    loop.turn()
    assert "".join(log) == "abcd"


def test_one_that_waits_again_has_its_next_turn_in_another(turns, loop):
    log = []
    turns.wait(Waiter(turns, "a", log, pieces=3, seconds=0.0))
    for count in (1, 2, 3):
        loop.turn()
        assert len(log) == count
