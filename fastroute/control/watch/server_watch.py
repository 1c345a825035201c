"""The loops that find out about one server: its load, its health, its models."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from fastroute.config import Config
from fastroute.control.fleet.server import FleetServer
from fastroute.control.loops import RESTART_DELAY, keep_on
from fastroute.control.watch.models import keep_listing
from fastroute.control.watch.prober import keep_probing
from fastroute.control.watch.scraper import keep_scraping
from fastroute.net.http_client import ServerClient
from fastroute.net.resolver import Resolver

Loop = Callable[[ServerClient], Awaitable[None]]


class ServerWatch:
    """One server's loops, each with a connection of its own. Stop it when the server goes."""

    __slots__ = ("_resolver", "_server", "_settings", "_tasks", "_tls")

    def __init__(
        self,
        server: FleetServer,
        tls: Callable[[], ssl.SSLContext],
        resolver: Resolver,
        config: Config,
    ) -> None:
        """Start the loops; each finds out for the first time at once.

        Args:
            server: Told of what is found out.
            tls: Returns what https needs; called for an https server alone.
            resolver: For a server that is given by name.
            config: The settings in force.
        """
        self._server = server
        self._tls = tls
        self._resolver = resolver
        self._tasks: list[asyncio.Task[None]] = []
        self._settings = _settings(server, config)
        self._start(config)

    def update(self, config: Config) -> None:
        """Go on with new settings."""
        settings = _settings(self._server, config)
        if settings == self._settings:
            return
        # Rather than wait for the end of an interval that has become shorter.
        self.stop()
        self._settings = settings
        self._start(config)

    def stop(self) -> None:
        """End the loops and close their connections."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _start(self, config: Config) -> None:
        server = self._server
        self._begin("scraping", lambda client: keep_scraping(server, client))
        self._begin("listing models", lambda client: keep_listing(server, client, server.list_now))
        if config.enable_active_health_check:
            self._begin("probing", lambda client: keep_probing(server, client, server.probe_now))

    def _begin(self, what: str, loop: Loop) -> None:
        entry = self._server.config
        client = ServerClient(
            entry.address,
            called=entry.called,
            api_key=entry.api_key,
            tls=self._tls() if entry.address.tls else None,
            resolver=self._resolver,
        )
        kept = keep_on(f"{what} server {entry.url}", lambda: loop(client), RESTART_DELAY)
        self._tasks.append(asyncio.get_running_loop().create_task(kept))


def _settings(server: FleetServer, config: Config) -> tuple[object, ...]:
    """Return what the loops are started with."""
    return (
        server.config.called,
        server.config.api_key,
        config.scrape_interval,
        config.models_refresh_interval,
        config.health_check_interval,
        config.health_check_of(server.config),
        config.enable_active_health_check,
    )
