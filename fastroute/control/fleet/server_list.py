"""The list of servers from the configuration and DNS, and the start and stop of their watches."""

import functools
import logging
import ssl
from collections.abc import Callable, Mapping

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.config.expansion import Expansion, expand, followed
from fastroute.control.config_file import describe_changes
from fastroute.control.fleet.fleet import Fleet
from fastroute.control.fleet.server import FleetServer
from fastroute.control.watch.dns_watch import NameWatches
from fastroute.control.watch.server_watch import ServerWatch
from fastroute.errors import ConfigError
from fastroute.ipc.messages import FollowedName
from fastroute.net.resolver import Resolver

log = logging.getLogger("supervisor")


class Roster:
    """Keeps the servers of a fleet in line with the configuration and DNS. Stop it at the end.

    Attributes:
        config: The active configuration, before the expansion of names.
        names: Its discovered names with their addresses.
    """

    __slots__ = ("_changed", "_fleet", "_left_out", "_names", "_refusal", "_resolver", "_tls",
                 "_watches", "config", "names")  # fmt: skip

    def __init__(self, fleet: Fleet, config: Config, resolver: Resolver) -> None:
        """Prepare, without watching anything.

        Args:
            fleet: Has the servers that have an entry of their own.
            config: The configuration, before the expansion of names.
            resolver: Resolves names.
        """
        self.config = config
        self.names: tuple[FollowedName, ...] = ()
        self._fleet = fleet
        # Created when a server needs it: this takes 30 ms, and 2 MB for root certificates.
        self._tls = functools.cache(ssl.create_default_context)
        self._resolver = resolver
        self._names = NameWatches(resolver.resolve, self._apply_resolution)
        self._watches: dict[FleetServer, ServerWatch] = {}
        self._left_out: Mapping[str, tuple[str, ...]] = {}
        self._refusal = ""
        self._changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        """Start to watch the servers and to resolve the names.

        Args:
            changed: Called when `names` has changed; the fleet reports changes of servers.
        """
        self._changed = changed
        for server in self._fleet.servers.values():
            self._watch(server)
        self._follow()

    def apply(self, config: Config) -> None:
        """Apply a new configuration.

        Raises:
            ConfigError: There are too many new servers; nothing was changed.
        """
        expansion = self._expand(config)
        self._activate(expansion.config)
        self.config = config
        self._follow()

    def stop(self) -> None:
        """Stop all watches."""
        self._names.stop()
        for watch in self._watches.values():
            watch.stop()

    def _follow(self) -> None:
        self._names.follow(self.config)
        self._note_names(self._expand(self.config))

    def _apply_resolution(self) -> None:
        """Apply the results of a resolution.

        A configuration that was refused is tried again: servers may have been removed meanwhile.
        """
        expansion = self._expand(self.config)
        before = self._fleet.config
        refusal = ""
        if expansion.config != before:
            try:
                self._activate(expansion.config)
            except ConfigError as error:
                refusal = str(error)
            else:
                for change in describe_changes(before, expansion.config):
                    log.info("by DNS: %s", change)
        if refusal and not self._refusal:
            log.error("by DNS: %s", refusal)
        self._refusal = refusal
        self._note_names(expansion)

    def _expand(self, config: Config) -> Expansion:
        names = [entry.address for entry in followed(config)]
        known = {name: self._names.known(name) for name in names}
        expansion = expand(config, {name: each.addresses for name, each in known.items()})
        if all(each.tried for each in known.values()):
            return expansion
        # The servers of a new name often had entries of their own or another name before. So no
        # server is removed until the name has been resolved.
        servers = expansion.config.servers
        addresses = {server.address for server in servers}
        staying = [s for s in self._fleet.config.servers if s.address not in addresses]
        kept = msgspec.structs.replace(expansion.config, servers=(*servers, *staying))
        return Expansion(kept, expansion.left_out)

    def _activate(self, config: Config) -> None:
        comings = self._fleet.apply(config)
        for server in comings.removed:
            self._watches.pop(server).stop()
        for watch in self._watches.values():
            watch.update(config)
        for server in comings.added:
            self._watch(server)

    def _watch(self, server: FleetServer) -> None:
        config = self._fleet.config
        self._watches[server] = ServerWatch(server, self._tls, self._resolver, config)

    def _note_names(self, expansion: Expansion) -> None:
        names = tuple(self._name(entry, expansion) for entry in followed(self.config))
        if names == self.names:
            return
        for url, overlaps in expansion.left_out.items():
            for overlap in overlaps:
                if overlap not in self._left_out.get(url, ()):
                    log.warning("%s: %s", url, overlap)
        self._left_out = expansion.left_out
        self.names = names
        self._changed()

    def _name(self, entry: ServerConfig, expansion: Expansion) -> FollowedName:
        known = self._names.known(entry.address)
        warnings = (known.warning, self._refusal, *expansion.left_out.get(entry.url, ()))
        return FollowedName(
            url=entry.url,
            addresses=known.addresses,
            resolved=known.tried and known.problem is None,
            warning="; ".join(filter(None, warnings)) or None,
        )
