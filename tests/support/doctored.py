"""The doctor's measurements of a real server."""

import asyncio
import contextlib
import ssl
import time
from email.utils import formatdate

from fastroute.config import parse_config
from fastroute.doctor.checks import Measure
from fastroute.doctor.facts import Facts
from fastroute.doctor.measure.bench import Bench
from tests.support.config_file import toml_text
from tests.support.scripted import Handler, read_request


async def measured(
    measure: Measure,
    url: str,
    *,
    entry: dict | None = None,
    settings: dict | None = None,
    tls: ssl.SSLContext | None = None,
    **known: object,
) -> Facts:
    """Take one measurement.

    Args:
        measure: The measurement.
        url: URL of the server.
        entry: Further fields of its entry in the configuration.
        settings: Settings of section [config].
        tls: TLS context with trusted certificates.
        known: Facts already measured.
    """
    config = parse_config(toml_text({"url": url, **(entry or {})}, **(settings or {})), "t")
    if tls is None and url.startswith("https"):
        tls = ssl.create_default_context()
    facts = Facts(server=config.servers[0], config=config, **known)
    with contextlib.closing(Bench(facts.server, tls)) as bench:
        await measure(bench, facts)
    return facts


def healthy(*, ahead: float = 0.0, status: int = 200) -> Handler:
    """Return a handler that sends empty responses, and closes idle connections soon.

    Its clock is `ahead` seconds ahead.
    """

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await read_request(reader)
                date = formatdate(time.time() + ahead, usegmt=True).encode()
                head = b"HTTP/1.1 %d X\r\nDate: %b\r\nContent-Length: 0\r\n\r\n" % (status, date)
                writer.write(head)

    return handler


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read everything and send nothing."""
    await reader.read()
