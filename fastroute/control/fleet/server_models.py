"""The models of one server: those the configuration pins, else those the server lists."""

import asyncio
import logging

from fastroute.config import ServerConfig
from fastroute.control.fleet.context import FleetContext
from fastroute.control.watch.models import (
    MAX_MODELS,
    MAX_NAME_CHARACTERS,
    ModelList,
    Models,
    nameplate,
)
from fastroute.printable import listed
from fastroute.rules.health import ServerHealth

log = logging.getLogger("supervisor")


class ServerModels:
    """The models of one server.

    Attributes:
        config: The server's entry in the configuration.
        list_now: Set when the server is to be asked for them at once.
        updated_at: When it listed them the last time, in Unix seconds, or None.
    """

    __slots__ = ("_fleet", "_health", "_listed", "_listing_error", "_names", "config", "list_now",
                 "updated_at")  # fmt: skip

    def __init__(self, fleet: FleetContext, config: ServerConfig, health: ServerHealth) -> None:
        """Begin with none known but those that are pinned.

        Args:
            fleet: What all servers share.
            config: The server's entry in the configuration.
            health: Of the server; that a server which is down lists none is no news.
        """
        self.config = config
        self.list_now = asyncio.Event()
        self.updated_at: float | None = None
        self._fleet = fleet
        self._health = health
        self._listed: ModelList | None = None
        self._names: tuple[str, ...] | None = None
        self._listing_error: str | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """Their names, or None where they are not known."""
        if self.config.models is not None:
            return self.config.models
        return self._names

    def has(self, model: str) -> bool:
        """Return True if the server is known to have a model."""
        known = self._listed if self.config.models is None else self.config.models
        return known is not None and model in known

    def serves(self, model: str) -> bool:
        """Return True if requests for a model may go to the server; "" stands for none named."""
        return not model or self.has(model)

    @property
    def cards(self) -> Models | None:
        """The same with what the server says of each; of one it does not list, its name."""
        pinned, listed = self.config.models, self._listed
        if pinned is None:
            return listed
        cards: Models = {} if listed is None else listed
        return {name: cards.get(name) or nameplate(name) for name in pinned}

    @property
    def models_refresh_interval(self) -> float:
        return self._fleet.config.models_refresh_interval

    def models_listed(self, models: ModelList) -> None:
        self.updated_at = self._fleet.unix_clock()
        self._fleet.checked()
        if models is self._listed:
            return
        if self._listed is None or list(models) != list(self._listed):
            log.info("server %s has models: %s", self.config.url, listed(models) or "none")
        if models.ignored and not (self._listed and self._listed.ignored):
            log.warning(
                "server %s lists too many models or too long names: %d are ignored; at most %d of "
                "%d characters are used",
                *(self.config.url, models.ignored, MAX_MODELS, MAX_NAME_CHARACTERS),
            )
        self._listed = models
        self._names = tuple(models)
        self._fleet.changed()

    @property
    def has_told(self) -> bool:
        """True if the server has told its models, or that it does not."""
        return self.names is not None or self._listing_error is not None

    def skipped(self, reason: str) -> None:
        self._fleet.own_limits.note(reason)

    def listing_failed(self, reason: str) -> None:
        if reason == self._listing_error or self.names is not None:
            return
        if self._listing_error is None:
            self._fleet.changed()
        self._listing_error = reason
        level = logging.WARNING if self._health.is_healthy else logging.DEBUG
        log.log(level, "server %s: its models are not known: %s", self.config.url, reason)
