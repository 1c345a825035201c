"""The configuration file: detection and application of its changes.

The current configuration stays active until a valid file replaces it. A file is examined when its
bytes change: one that was only touched is ignored, and an invalid one is reported once.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fastroute.config import Config, ServerConfig, parse_config, setting_docs
from fastroute.control.regular_file import RegularFile, Stamp
from fastroute.errors import ConfigError
from fastroute.ipc.messages import ConfigState

LOOKS_PER_INTERVAL = 2
"""Share of config_reload_interval between checks, so that each change is seen within it."""

COARSEST_CLOCK = 2.0
"""Seconds. Two changes within this time may leave a file with the same modification time."""

if TYPE_CHECKING:
    import asyncio

SERVERS_AS_WRITTEN = "url"
"""Fields that are not compared: a server's URL may be written in several ways."""

log = logging.getLogger("supervisor")


class FixedConfig:
    """A configuration without a file.

    Attributes:
        config: The current configuration.
        state: Its source, for users.
    """

    __slots__ = ("config", "state")

    def __init__(self, config: Config, source: str) -> None:
        """Create it.

        Args:
            config: Servers and settings.
            source: Their source, for users.
        """
        self.config = config
        self.state = ConfigState(source=source, loaded_at=time.time())


class WatchedConfig:
    """A configuration file and the current configuration.

    Attributes:
        path: The file.
        config: The current configuration; initially that of the file.
        state: Result of the last check of the file, for users.
    """

    __slots__ = (
        "_apply", "_file", "_is_young", "_override", "_seen", "_stamp", "config", "path", "state",
    )  # fmt: skip

    def __init__(
        self, path: Path, override: Callable[[Config], Config] = lambda config: config
    ) -> None:
        """Read the file for the first time.

        Args:
            path: The file.
            override: Replaces settings of the file by those of the command line.

        Raises:
            ConfigError: The file cannot be read or is invalid; the message is one line.
        """
        self.path = path
        self._override = override
        self._apply: Callable[[Config], Config] = lambda config: config
        self._file = RegularFile(path)
        self._is_young = True
        self._stamp: Stamp | None = None
        content = self._file.read()
        data = content.data
        assert data is not None, "there is no stamp before the first reading"
        self._take_stamp(content.stamp)
        self.config = override(parse_config(data, str(path)))
        self._seen = _digest(data)
        self.state = ConfigState(source=str(path), loaded_at=time.time(), sha256=self._seen)

    def apply_with(self, apply: Callable[[Config], Config]) -> None:
        """Set the function that applies a new configuration.

        Args:
            apply: Applies it and returns the active one, or raises ConfigError without a change.
        """
        self._apply = apply

    async def watch(self, changed: Callable[[], None], wake: "asyncio.Event") -> None:
        """Check the file periodically; never returns.

        Args:
            changed: Called when `state` has changed.
            wake: Set it to check the file now.
        """
        # Imported here, because the command line reads the file first: asyncio takes 20 ms.
        from fastroute.control.loops import pause

        while True:
            await pause(self.config.config_reload_interval / LOOKS_PER_INTERVAL, wake)
            if await self.check():
                changed()

    async def check(self) -> bool:
        """Check the file now, and apply it if it has changed and is valid.

        Returns:
            True if `state` has changed.
        """
        before = self.state
        try:
            data = await self._read_if_changed()
        except ConfigError as error:
            self._vanished(str(error))
            return self.state is not before
        if data is not None:
            self._take(data)
        return self.state is not before

    def _take(self, data: bytes) -> None:
        digest = _digest(data)
        if digest == self._seen:
            return
        self._seen = digest
        if digest == self.state.sha256:
            # An error was undone, or a missing file is back.
            self.state = msgspec.structs.replace(self.state, error=None)
            log.info("%s: no change to the current configuration", self.path)
            return
        try:
            self.config = self._apply(self._override(parse_config(data, str(self.path))))
        except ConfigError as error:
            self._refused(str(error))
            return
        self.state = msgspec.structs.replace(
            self.state,
            loaded_at=time.time(),
            sha256=digest,
            reloads=self.state.reloads + 1,
            error=None,
        )

    def _vanished(self, error: str) -> None:
        if self._stamp is None:
            return
        self._stamp = None
        # Report the next content in any case, even the same error again.
        self._seen = ""
        self._refused(error)

    def _refused(self, error: str) -> None:
        log.error("%s; the current configuration stays active", error)
        self.state = msgspec.structs.replace(
            self.state, failures=self.state.failures + 1, error=error
        )

    async def _read_if_changed(self) -> bytes | None:
        """Return the file's bytes if they may differ from the last ones read.

        Raises:
            ConfigError: The file cannot be read.
        """
        content = await self._file.read_if_changed(None if self._is_young else self._stamp)
        self._take_stamp(content.stamp)
        return content.data

    def _take_stamp(self, stamp: Stamp) -> None:
        self._stamp = stamp
        self._is_young = abs(time.time() - stamp[0] / 1e9) < COARSEST_CLOCK


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe_changes(before: Config, after: Config) -> tuple[str, ...]:
    """Return the differences, servers first, one line each.

    API keys are not shown.

    Args:
        before: The current configuration.
        after: The new configuration.
    """
    old = {server.address: server for server in before.servers}
    new = {server.address: server for server in after.servers}
    lines = [f"server {_named(old[address])} removed" for address in old if address not in new]
    for address, server in new.items():
        known = old.get(address)
        if known is None:
            lines.append(f"server {_named(server)} added{' as draining' if server.drain else ''}")
        else:
            lines += [f"server {server.url}: {each}" for each in _differences(known, server)]
    lines += _differences(before, after)
    return tuple(lines)


def _named(server: ServerConfig) -> str:
    by = server.discovered_from
    return server.url if by is None else f"{server.url} of {by}"


def _differences(before: Config | ServerConfig, after: Config | ServerConfig) -> Iterator[str]:
    for name, doc in setting_docs(type(before)).items():
        old, new = getattr(before, name), getattr(after, name)
        if old == new or name == SERVERS_AS_WRITTEN:
            continue
        yield f"{name} changed" if doc.secret else f"{name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()
