"""Load that a server seems to have because it just refused or failed requests.

A server that refuses at once never has a request in flight, so every policy that looks at load
would prefer it: one with a wrong API key got 95 % of the traffic. So each failure makes its server
look as full as it can be for a while. The penalty halves with every timer tick (0.5 s), and a good
response ends it: one client's bad requests must not make all servers look alike.
"""

import math
from typing import Final

MAX_PENALTY: Final = 16.0
"""Times the capacity: about 4 s until it has decayed."""

NEGLIGIBLE: Final = 0.05
"""Times the capacity: dropped."""


class Refusals:
    """Penalties of the servers that just failed requests.

    Attributes:
        penalties: Row of the score table -> times the capacity; empty while no server fails.
    """

    __slots__ = ("penalties",)

    def __init__(self) -> None:
        self.penalties: dict[int, float] = {}

    def note(self, row: int) -> None:
        """Note that a server refused or failed a request."""
        self.penalties[row] = min(MAX_PENALTY, 2.0 * self.penalties.get(row, 0.0) + 1.0)

    def answered(self, row: int) -> None:
        """Note that a server answered a request well: it serves, whatever it refused.

        If it had failed others, these were to blame, so the other servers' penalties end, too.
        They would keep good requests away from them, and without those they would fail more than
        their peers do.
        """
        if row in self.penalties:
            self.penalties.clear()

    def forget(self, row: int) -> None:
        """End the penalty of one server: a request was to blame, or the server is another one."""
        self.penalties.pop(row, None)

    def decay(self) -> None:
        """Halve the penalties; to be called at each timer tick."""
        halved = {row: penalty / 2 for row, penalty in self.penalties.items()}
        self.penalties = {row: each for row, each in halved.items() if each > NEGLIGIBLE}

    def added_to(self, in_flight: list[int], capacities: dict[int, float]) -> list[int]:
        """Return the requests in flight by row, with those that the penalties stand for.

        Args:
            in_flight: Number of requests by row.
            capacities: Capacity by row; rows of servers that are gone are missing.
        """
        total = list(in_flight)
        for row, penalty in self.penalties.items():
            if row in capacities and row < len(total):
                total[row] += math.ceil(penalty * capacities[row])
        return total
