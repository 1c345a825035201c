"""State that all servers of a fleet share."""

import time
from collections.abc import Callable

import msgspec

from fastroute.config import Config
from fastroute.control.fleet.own_limits import OwnLimits
from fastroute.ipc.score_table import ScoreTable
from fastroute.rules.fleet_health import FleetHealth
from fastroute.rules.health_record import Limits


def _nothing() -> None:
    pass


class FleetContext:
    """State that all servers of a fleet share.

    Attributes:
        table: The score table.
        config: The current settings; replaced on a reload.
        health: The health of all servers, by row.
        clock: Like time.monotonic.
        unix_clock: Like time.time.
        own_limits: Takes what cannot be asked because of a limit of ours.
        changed: Called when models or settings that workers need have changed.
        state_changed: Called when there is another reason for a state.
        checked: Called when there is a new result of a health check.
    """

    __slots__ = (
        *("changed", "checked", "clock", "config", "health", "own_limits", "state_changed"),
        *("table", "unix_clock"),
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
        self.health: FleetHealth[int] = FleetHealth(limits_of(config))
        self.clock = clock
        self.unix_clock = unix_clock
        self.own_limits = OwnLimits(clock)
        self.changed: Callable[[], None] = _nothing
        self.checked: Callable[[], None] = _nothing
        self.state_changed: Callable[[], None] = _nothing


def limits_of(config: Config) -> Limits:
    """Return the settings that the rules of health know."""
    return msgspec.convert(config, Limits, from_attributes=True)
