"""Looking names up, as every program of the system does: by getaddrinfo.

It knows /etc/hosts, search domains, nsswitch and what a container's system adds, so that fastroute
finds what `getent ahosts` finds, and needs no library of its own. What it does not tell is for how
long an answer is good; `dns_interval` stands in for that.

It may block for as long as it likes. So each look-up has a thread, one for each name at a time; it
is no thread of the loop's own pool, which a few hung look-ups would use up, and which the end of
the program would wait for.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""Returns the addresses of a name, none if there is no such name; raises Unresolved."""

# Not every C library tells a name without addresses from one that does not exist.
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

FRESH = 5.0
"""Seconds for which an answer is used again for another connection; so long it spares the DNS of
a cluster, where a name may cost ten questions, from being asked for each."""

MOMENT = 0.2
"""Seconds to wait for a new answer where there is an older one; most take a few milliseconds."""


class Unresolved(OSError):
    """There was no answer; the message says why, in a few words."""


class Found(NamedTuple):
    """An answer with addresses."""

    addresses: tuple[str, ...]
    at: float
    """Loop time in seconds."""


def addresses_of(name: str) -> tuple[str, ...]:
    """Ask the system for the addresses of a name; blocks.

    Raises:
        Unresolved: There was no answer.
    """
    try:
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_NAME:
            return ()
        raise Unresolved(error.strerror or str(error)) from None
    except (OSError, UnicodeError) as error:
        raise Unresolved(str(error)) from None
    # One that is good on one link only (its scope is not 0) cannot be written in a URL.
    usable = [info[4] for info in infos if len(info[4]) < 4 or info[4][3] == 0]
    return tuple(dict.fromkeys(str(address[0]) for address in usable))


class Resolver:
    """Looks names up, each once at a time however many ask."""

    __slots__ = ("_begun", "_found", "_fresh", "_look_up", "_pending")

    def __init__(
        self, look_up: Callable[[str], tuple[str, ...]] = addresses_of, fresh: float = FRESH
    ) -> None:
        """Prepare.

        Args:
            look_up: As `addresses_of`; called in a thread.
            fresh: Seconds for which `locate` uses an answer again.
        """
        self._look_up = look_up
        self._fresh = fresh
        self._begun: set[str] = set()
        self._pending: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._found: dict[str, Found] = {}

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name, IPv6 without brackets; none if there is no such name.

        There is no limit of time. Who gives up waiting leaves the look-up to go on, and gets its
        answer by asking again.

        Raises:
            Unresolved: There was no answer.
        """
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = self._start(name)
        return await asyncio.shield(pending)

    def begin(self, name: str) -> None:
        """Have an answer at hand for those who connect later; a name is begun once."""
        if name in self._begun:
            return
        self._begun.add(name)
        if name not in self._pending:
            self._pending[name] = self._start(name)

    async def locate(self, name: str) -> tuple[str, ...]:
        """Return where to connect to, in the system's order.

        An answer that is fresh is used again. An older one helps out where there is no answer, or
        none within a MOMENT: so a resolver in trouble does not keep anybody from servers that are
        well.

        Raises:
            Unresolved: There is no such name, or there never was an answer.
        """
        loop = asyncio.get_running_loop()
        found = self._found.get(name)
        if found is None:
            addresses = await self.resolve(name)
        elif loop.time() - found.at < self._fresh:
            return found.addresses
        else:
            try:
                async with asyncio.timeout(MOMENT):
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
                answer.exception()  # Nobody may be waiting any more.
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
            # A look-up may take longer than the program.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, outcome)

        threading.Thread(target=look_up, name=f"resolving {name}", daemon=True).start()
        return answer
