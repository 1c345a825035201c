"""Resolution of host names with the system's resolver, getaddrinfo.

It supports /etc/hosts, search domains, nsswitch and extensions of container systems, so that
fastroute gets the same addresses as `getent ahosts`, without another library. It does not report
the TTL of a result; `dns_interval` is used instead.

It may block without a limit. Therefore each resolution has a separate thread, one at a time per
name. Threads of the loop's own pool would not do: a few hung resolutions would exhaust it, and the
program would wait for them at its exit.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""Returns the addresses of a name, none if there is no such name; raises Unresolved."""

# Not every C library distinguishes a name without addresses from one that does not exist.
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

CACHE_SECONDS = 5.0
"""Seconds for which a result is reused for other connections. This reduces the load on the DNS of a
cluster, where one resolution may need ten requests."""

REFRESH_TIMEOUT = 0.2
"""Seconds to wait for a new result if there is an older one; most take a few milliseconds."""


class Unresolved(OSError):
    """The resolution failed; the message gives the reason in a few words."""


class Found(NamedTuple):
    """A cached result with addresses."""

    addresses: tuple[str, ...]
    at: float
    """Loop time in seconds."""


def addresses_of(name: str) -> tuple[str, ...]:
    """Resolve a name with the system's resolver; blocks.

    Raises:
        Unresolved: The resolution failed.
    """
    try:
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_NAME:
            return ()
        raise Unresolved(error.strerror or str(error)) from None
    except (OSError, UnicodeError) as error:
        failed = Unresolved(str(error))
        failed.errno = error.errno if isinstance(error, OSError) else None
        raise failed from None
    # A link-local address (its scope is not 0) cannot be used in a URL.
    usable = [info[4] for info in infos if len(info[4]) < 4 or info[4][3] == 0]
    return tuple(dict.fromkeys(str(address[0]) for address in usable))


class Resolver:
    """Resolves names; concurrent requests for a name share one resolution."""

    __slots__ = ("_found", "_fresh", "_look_up", "_pending", "_started")

    def __init__(
        self, look_up: Callable[[str], tuple[str, ...]] = addresses_of, fresh: float = CACHE_SECONDS
    ) -> None:
        """Prepare.

        Args:
            look_up: Like `addresses_of`; called in a thread.
            fresh: Seconds for which `locate` reuses a result.
        """
        self._look_up = look_up
        self._fresh = fresh
        self._started: set[str] = set()
        self._pending: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._found: dict[str, Found] = {}

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name, IPv6 without brackets; none if there is no such name.

        There is no time limit. If the caller stops waiting, the resolution continues, and another
        call gets its result.

        Raises:
            Unresolved: The resolution failed.
        """
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = self._start(name)
        return await asyncio.shield(pending)

    def prefetch(self, name: str) -> None:
        """Start resolving a name, unless this was done before, so that `locate` finds a result."""
        if name in self._started:
            return
        self._started.add(name)
        if name not in self._pending:
            self._pending[name] = self._start(name)

    async def locate(self, name: str) -> tuple[str, ...]:
        """Return the addresses to connect to, in the system's order.

        A recent result is reused. An older one is the fallback if the resolution fails or takes
        longer than REFRESH_TIMEOUT, so that a failing resolver does not block connections to
        healthy servers.

        Raises:
            Unresolved: The name does not exist, or was never resolved.
        """
        loop = asyncio.get_running_loop()
        found = self._found.get(name)
        if found is None:
            addresses = await self.resolve(name)
        elif loop.time() - found.at < self._fresh:
            return found.addresses
        else:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT):
                    addresses = await self.resolve(name)
            except (TimeoutError, Unresolved):
                return found.addresses
        if not addresses:
            raise Unresolved("no such name")
        return addresses

    def _start(self, name: str) -> "asyncio.Future[tuple[str, ...]]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[str, ...]] = loop.create_future()

        def settle(outcome: tuple[str, ...] | Unresolved) -> None:
            del self._pending[name]
            if isinstance(outcome, Unresolved):
                answer.set_exception(outcome)
                answer.exception()  # There may be no waiting caller any more.
                return
            answer.set_result(outcome)
            if outcome:
                self._found[name] = Found(outcome, loop.time())
            else:
                self._found.pop(name, None)

        def look_up() -> None:
            try:
                outcome: tuple[str, ...] | Unresolved = self._look_up(name)
            except Unresolved as error:
                outcome = error
            # A resolution may outlive the loop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, outcome)

        threading.Thread(target=look_up, name=f"resolving {name}", daemon=True).start()
        return answer
