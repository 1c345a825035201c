"""The loops that look up the names of a configuration, one each, again and again."""

import asyncio
import logging
from collections.abc import Callable

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import followed
from fastroute.control.loops import RESTART_DELAY, keep_on, pause
from fastroute.net.resolver import Resolve, Unresolved
from fastroute.rules.discovery import UNKNOWN, Known, answered, news, not_answered
from fastroute.server_address import ServerAddress

PATIENCE = 5.0
"""Seconds after which a look-up under way counts as not answered; the system's first timeout."""

log = logging.getLogger("supervisor")


class NameWatch:
    """Follows one name. Stop it when the name goes.

    Attributes:
        known: What is known of it.
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
        """Start; the first look-up is made at once.

        Args:
            entry: Of the configuration.
            config: Has the settings.
            resolve: Looks a name up.
            looked_up: Called after each look-up, and when one takes too long.
            patience: Seconds after which a look-up counts as not answered.
        """
        self._entry = entry
        self._settings = config
        self._resolve = resolve
        self._looked_up = looked_up
        self._patience = patience
        self._wake = asyncio.Event()
        self.known = UNKNOWN
        kept = keep_on(f"looking up {entry.url}", self._keep_looking_up, RESTART_DELAY)
        self._task = asyncio.get_running_loop().create_task(kept)

    def update(self, entry: ServerConfig, config: Config) -> None:
        """Go on with new settings."""
        before, self._entry, self._settings = self._settings, entry, config
        if (before.dns_interval, before.dns_hold) != (config.dns_interval, config.dns_hold):
            # Rather than wait for the end of an interval that has become shorter.
            self._wake.set()

    def stop(self) -> None:
        """Look it up no more."""
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
                reason = f"no answer within {self._patience:g} s"
                self._take(not_answered(self.known, reason))
            # Its answer may still come; and a second question would only hang as well.
            addresses = await look_up
        except Unresolved as error:
            self._take(not_answered(self.known, str(error)))
        else:
            hold = self._settings.dns_hold
            self._take(answered(self.known, addresses, loop.time(), hold))
        finally:
            look_up.cancel()

    def _take(self, known: Known) -> None:
        text = news(self.known, known)
        self.known = known
        if text is not None:
            level = logging.INFO if known.trouble is None else logging.WARNING
            log.log(level, "%s: %s", self._entry.url, text)
        self._looked_up()


class NameWatches:
    """Follows all names of a configuration."""

    __slots__ = ("_looked_up", "_resolve", "_watches")

    def __init__(self, resolve: Resolve, looked_up: Callable[[], None]) -> None:
        """Prepare, without following any.

        Args:
            resolve: Looks a name up.
            looked_up: Called after each look-up, and when one takes too long.
        """
        self._resolve = resolve
        self._looked_up = looked_up
        self._watches: dict[ServerAddress, NameWatch] = {}

    def follow(self, config: Config) -> None:
        """Follow the names of a configuration from now on; one that stays is not begun anew."""
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
        """Return what is known of a name, followed or not."""
        watch = self._watches.get(name)
        return UNKNOWN if watch is None else watch.known

    def stop(self) -> None:
        """Follow none any more."""
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()
