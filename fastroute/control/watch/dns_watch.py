"""Loops that resolve the DNS names of a configuration periodically, one per name."""

import asyncio
import logging
from collections.abc import Callable

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import followed
from fastroute.control.loops import RESTART_DELAY, keep_on, pause
from fastroute.net.resolver import Resolve, Unresolved
from fastroute.rules.discovery import UNKNOWN, Known, after_answer, after_failure, change_text
from fastroute.server_address import ServerAddress

PATIENCE = 5.0
"""Seconds after which a resolution in progress counts as failed; the system's first timeout."""

log = logging.getLogger("supervisor")


class NameWatch:
    """Resolves one name periodically. Stop it when the name is removed.

    Attributes:
        known: Last known result.
    """

    __slots__ = ("_entry", "_looked_up", "_patience", "_resolve", "_settings", "_task", "_wake",
                 "known")  # fmt: skip

    def __init__(
        self,
        entry: ServerConfig,
        config: Config,
        resolve: Resolve,
        looked_up: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        """Start the loop; the first resolution starts immediately.

        Args:
            entry: The name's entry in the configuration.
            config: The settings.
            resolve: Resolves a name.
            looked_up: Called after each resolution, and when one takes too long.
            patience: Seconds after which a resolution counts as failed.
        """
        self._entry = entry
        self._settings = config
        self._resolve = resolve
        self._looked_up = looked_up
        self._patience = patience
        self._wake = asyncio.Event()
        self.known = UNKNOWN
        kept = keep_on(f"resolving {entry.url}", self._keep_looking_up, RESTART_DELAY)
        self._task = asyncio.get_running_loop().create_task(kept)

    def update(self, entry: ServerConfig, config: Config) -> None:
        """Continue with new settings."""
        before, self._entry, self._settings = self._settings, entry, config
        if (before.dns_interval, before.dns_hold) != (config.dns_interval, config.dns_hold):
            # Do not wait for the end of an interval that has become shorter.
            self._wake.set()

    def stop(self) -> None:
        """Stop the loop."""
        self._task.cancel()

    async def _keep_looking_up(self) -> None:
        while True:
            await self._look_up()
            await pause(self._settings.dns_interval, self._wake)

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        look_up = asyncio.ensure_future(self._resolve(self._entry.address.host))
        try:
            done, _ = await asyncio.wait({look_up}, timeout=self._patience)
            if not done:
                reason = f"no response within {self._patience:g} s"
                self._take(after_failure(self.known, reason))
            # The response may still arrive, and a second request would only hang as well.
            addresses = await look_up
        except Unresolved as error:
            self._take(after_failure(self.known, str(error)))
        else:
            hold = self._settings.dns_hold
            self._take(after_answer(self.known, addresses, loop.time(), hold))
        finally:
            look_up.cancel()

    def _take(self, known: Known) -> None:
        text = change_text(self.known, known)
        self.known = known
        if text is not None:
            level = logging.INFO if known.problem is None else logging.WARNING
            log.log(level, "%s: %s", self._entry.url, text)
        self._looked_up()


class NameWatches:
    """Resolves all names of a configuration periodically."""

    __slots__ = ("_looked_up", "_resolve", "_watches")

    def __init__(self, resolve: Resolve, looked_up: Callable[[], None]) -> None:
        """Prepare, without any names.

        Args:
            resolve: Resolves a name.
            looked_up: Called after each resolution, and when one takes too long.
        """
        self._resolve = resolve
        self._looked_up = looked_up
        self._watches: dict[ServerAddress, NameWatch] = {}

    def follow(self, config: Config) -> None:
        """Resolve the names of a configuration from now on; loops of unchanged names continue."""
        before, self._watches = self._watches, {}
        for entry in followed(config):
            watch = before.pop(entry.address, None)
            if watch is None:
                watch = NameWatch(entry, config, self._resolve, self._looked_up)
            else:
                watch.update(entry, config)
            self._watches[entry.address] = watch
        for gone in before.values():
            gone.stop()

    def known(self, name: ServerAddress) -> Known:
        """Return the last known result of a name, even if it is not in the configuration."""
        watch = self._watches.get(name)
        return UNKNOWN if watch is None else watch.known

    def stop(self) -> None:
        """Stop all loops."""
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()
