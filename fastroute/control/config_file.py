"""The configuration file: noticing its changes, and what became of each.

What is in force stays so until a file can be used. A file is judged when its bytes change: one
that was only touched is no news, and one that is wrong is complained of once.
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
"""So that a change is seen within config_reload_interval, not only on average."""

COARSEST_CLOCK = 2.0
"""Seconds. Two changes closer than this may leave a file with one and the same time."""

if TYPE_CHECKING:
    import asyncio

SERVERS_AS_WRITTEN = "url"
"""A server is the same however its URL is written, so this is no difference."""

log = logging.getLogger("supervisor")


class FixedConfig:
    """A configuration that no file stands behind.

    Attributes:
        config: What is in force.
        state: Where it came from, for people.
    """

    __slots__ = ("config", "state")

    def __init__(self, config: Config, source: str) -> None:
        """Take a configuration.

        Args:
            config: Servers and settings.
            source: Where they came from.
        """
        self.config = config
        self.state = ConfigState(source=source, loaded_at=time.time())


class WatchedConfig:
    """A configuration file and what is in force of it.

    Attributes:
        path: The file.
        config: What is in force; it was read when this object was made.
        state: What became of the file, for people.
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
            override: Puts what the command line says in place of what the file says.

        Raises:
            ConfigError: It cannot be read or used; the message is one line.
        """
        self.path = path
        self._override = override
        self._apply: Callable[[Config], Config] = lambda config: config
        self._file = RegularFile(path)
        self._is_young = True
        self._stamp: Stamp | None = None
        content = self._file.read()
        data = content.data
        assert data is not None, "the first reading knows no stamp"
        self._take_stamp(content.stamp)
        self.config = override(parse_config(data, str(path)))
        self._seen = _digest(data)
        self.state = ConfigState(source=str(path), loaded_at=time.time(), sha256=self._seen)

    def apply_with(self, apply: Callable[[Config], Config]) -> None:
        """Say how a new configuration is put in force from now on.

        Args:
            apply: Puts it in force and returns what is, or raises ConfigError and changes nothing.
        """
        self._apply = apply

    async def watch(self, changed: Callable[[], None], wake: "asyncio.Event") -> None:
        """Check the file periodically; never returns.

        Args:
            changed: Called when `state` has changed.
            wake: Set it to have the file checked now.
        """
        # The command line reads the file before it needs an event loop: asyncio takes 20 ms.
        from fastroute.control.loops import pause

        while True:
            await pause(self.config.config_reload_interval / LOOKS_PER_INTERVAL, wake)
            if await self.look():
                changed()

    async def look(self) -> bool:
        """Look at the file now, and put it in force if it has changed and can be used.

        Returns:
            Whether `state` has changed.
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
            # A mistake was undone, or a file that had gone is back.
            self.state = msgspec.structs.replace(self.state, error=None)
            log.info("%s: what it says is in force already", self.path)
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
        # Whatever comes in its place is news, even the same mistake again.
        self._seen = ""
        self._refused(error)

    def _refused(self, error: str) -> None:
        log.error("%s; nothing is changed", error)
        self.state = msgspec.structs.replace(
            self.state, failures=self.state.failures + 1, error=error
        )

    async def _read_if_changed(self) -> bytes | None:
        """Return the file's bytes if they may differ from the last ones read.

        Raises:
            ConfigError: It cannot be read.
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
    """Return what differs, servers first, one line each.

    Keys are not shown.

    Args:
        before: What was in force.
        after: What will be.
    """
    old = {server.address: server for server in before.servers}
    new = {server.address: server for server in after.servers}
    lines = [f"server {_named(old[address])} removed" for address in old if address not in new]
    for address, server in new.items():
        known = old.get(address)
        if known is None:
            lines.append(f"server {_named(server)} added{' to be drained' if server.drain else ''}")
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
