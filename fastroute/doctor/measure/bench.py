"""Connections and time limits shared by all measurements of one server."""

import asyncio
import ssl

from fastroute.config import ServerConfig
from fastroute.doctor.measure.wire import Wire
from fastroute.net.http_client import ClientError, ServerClient, in_few_words, request_fields

ANSWER_TIMEOUT = 5.0
"""Seconds for connecting, and for each request that generates nothing."""


class Bench:
    """One server, and a client for sequential requests. Close it when done."""

    __slots__ = ("client", "fields", "server", "tls")

    def __init__(self, server: ServerConfig, tls: ssl.SSLContext | None) -> None:
        """Prepare, without connecting.

        Args:
            server: The server to measure.
            tls: Context shared by all servers; needed for https.
        """
        self.server = server
        self.tls = tls
        self.fields = request_fields(server.called, server.api_key)
        self.client = self.new_client(server.api_key)

    def new_client(self, api_key: str | None) -> ServerClient:
        server = self.server
        return ServerClient(server.address, called=server.called, api_key=api_key, tls=self.tls)

    async def open_wire(self) -> Wire:
        """Open a separate connection.

        Raises:
            ClientError: It cannot be opened in time.
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
