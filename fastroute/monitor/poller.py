"""Polls a router's /load-stats."""

import time
from collections.abc import Sequence
from typing import TypeVar

from fastroute.api.report import Report, read_answer
from fastroute.errors import ConfigError
from fastroute.monitor.view.picture import MonitorData
from fastroute.net.http_client import ClientError, ServerClient
from fastroute.printable import printable
from fastroute.server_address import URL_FORM, ServerAddress

Answer = TypeVar("Answer")

TIMEOUT = 3.0
"""Seconds a response may take."""


class NoResponse(Exception):
    """No fastroute answered; the message gives the reason in a few words."""


def target(url: str) -> tuple[str, ServerAddress]:
    """Return the complete URL of a router, and its address.

    Args:
        url: May lack `http://`.

    Raises:
        ConfigError: The URL is not valid.
    """
    full = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        address = ServerAddress.from_url(full)
    except ConfigError as error:
        raise ConfigError(f"{url!r}: {error}") from None
    if address.follows_dns:
        raise ConfigError(f"{url!r}: {URL_FORM}")
    return full, address


class Poller:
    """Polls one router over HTTP. Close it when done.

    Attributes:
        body: The last body of /load-stats, unchanged.
    """

    def __init__(self, url: str, address: ServerAddress) -> None:
        """Prepare, without sending anything.

        Args:
            url: The router's URL, as shown to the user.
            address: Where it listens.
        """
        self.body = b""
        self._url = url
        self._client = ServerClient(address)
        self._report: Report | None = None
        self._error = ""

    async def poll(self) -> None:
        """Poll once.

        Raises:
            NoResponse: `data` still returns the last known report, now with this error.
        """
        try:
            self.body, self._report = await fetch(self._client, "/load-stats", Report)
        except NoResponse as error:
            self._error = printable(str(error))
            raise
        self._error = ""

    def data(self, log: Sequence[str] | None = None, caption: str = "") -> MonitorData:
        """Return the data to show now."""
        return MonitorData(
            source=self._url,
            report=self._report,
            error=self._error,
            log=log,
            caption=caption,
            clock=time.strftime("%H:%M:%S"),
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


async def fetch(client: ServerClient, path: str, kind: type[Answer]) -> tuple[bytes, Answer]:
    """Send one GET request to a router.

    Returns:
        The response's body, unchanged and decoded.

    Raises:
        NoResponse: There is no response, or it is not that of a fastroute.
    """
    try:
        reply = await client.get(path, TIMEOUT)
    except ClientError as error:
        raise NoResponse(str(error)) from None
    if reply.status != 200:
        hint = "; if admin_port is set, use that port" if path == "/load-stats" else ""
        raise NoResponse(f"not a fastroute: {path} returned status {reply.status}{hint}")
    try:
        return reply.body, read_answer(reply.body, kind)
    except ValueError:
        raise NoResponse(f"not a fastroute: {path} returned an unknown body") from None
