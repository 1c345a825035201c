"""What all measurements of one server share: how to reach it, and how long to wait."""

import asyncio
import ssl

from fastroute.config import ServerConfig
from fastroute.doctor.measure.wire import Wire
from fastroute.net.http_client import ClientError, ServerClient, in_few_words, request_fields

ANSWER_TIMEOUT = 5.0
"""Seconds for connecting, and for each question that generates nothing."""


class Bench:
    """One server, and a client for questions that are asked one after another. Close it."""

    __slots__ = ("client", "fields", "server", "tls")

    def __init__(self, server: ServerConfig, tls: ssl.SSLContext | None) -> None:
        """Prepare, without connecting.

        Args:
            server: Whom to ask.
            tls: Shared among servers; needed where one is https.
        """
        self.server = server
        self.tls = tls
        self.fields = request_fields(server.called, server.api_key)
        self.client = self.new_client(server.api_key)

    def new_client(self, api_key: str | None) -> ServerClient:
        server = self.server
        return ServerClient(server.address, called=server.called, api_key=api_key, tls=self.tls)

    async def open_wire(self) -> Wire:
        """Open a connection of its own.

        Raises:
            ClientError: It cannot be done in time.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await Wire.open(self.server, self.tls)
        except TimeoutError:
            raise ClientError(f"cannot connect within {ANSWER_TIMEOUT:g} s") from None
        except OSError as error:
            raise ClientError(f"cannot connect: {in_few_words(error)}") from None

    def close(self) -> None:
        self.client.close()
