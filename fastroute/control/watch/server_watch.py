"""The polling loops of one server: load, health and models."""

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
    """One server's loops, each with its own connection. Stop it when the server is removed."""

    __slots__ = ("_resolver", "_server", "_settings", "_tasks", "_tls")

    def __init__(
        self,
        server: FleetServer,
        tls: Callable[[], ssl.SSLContext],
        resolver: Resolver,
        config: Config,
    ) -> None:
        """Start the loops; the first round of each starts immediately.

        Args:
            server: Receives the results.
            tls: Returns the TLS context; called only for an https server.
            resolver: Resolves the server's host name.
            config: The current settings.
        """
        self._server = server
        self._tls = tls
        self._resolver = resolver
        self._tasks: list[asyncio.Task[None]] = []
        self._settings = _settings(server, config)
        self._start(config)

    def update(self, config: Config) -> None:
        """Continue with new settings."""
        settings = _settings(self._server, config)
        if settings == self._settings:
            return
        # Do not wait for the end of an interval that has become shorter.
        self.stop()
        self._settings = settings
        self._start(config)

    def stop(self) -> None:
        """Stop the loops and close their connections."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _start(self, config: Config) -> None:
        server, models = self._server, self._server.models
        self._start_loop("scraping", lambda client: keep_scraping(server.load, client))
        self._start_loop(
            "listing models", lambda client: keep_listing(models, client, models.list_now)
        )
        if config.enable_active_health_check:
            self._start_loop(
                "probing", lambda client: keep_probing(server, client, server.probe_now)
            )

    def _start_loop(self, what: str, loop: Loop) -> None:
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
    """Return the settings that require a restart of the loops when changed."""
    return (
        server.config.called,
        server.config.api_key,
        config.scrape_interval,
        config.models_refresh_interval,
        config.health_check_interval,
        config.health_check_of(server.config),
        config.enable_active_health_check,
    )
