"""State that all servers of a fleet share."""

import time
from collections.abc import Callable

from fastroute.config import Config
from fastroute.ipc.score_table import ScoreTable


def _nothing() -> None:
    pass


class FleetContext:
    """State that all servers of a fleet share.

    Attributes:
        table: The score table.
        config: The current settings; replaced on a reload.
        clock: Like time.monotonic.
        unix_clock: Like time.time.
        changed: Called when models or settings that workers need have changed.
        state_changed: Called when there is another reason for a state.
        checked: Called when there is a new result of a health check.
    """

    __slots__ = (
        *("changed", "checked", "clock", "config", "state_changed", "table", "unix_clock"),
    )

    def __init__(
        self,
        table: ScoreTable,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self.table = table
        self.config = config
        self.clock = clock
        self.unix_clock = unix_clock
        self.changed: Callable[[], None] = _nothing
        self.checked: Callable[[], None] = _nothing
        self.state_changed: Callable[[], None] = _nothing
