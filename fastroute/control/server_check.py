"""What can be said of a server by asking it once, for `fastroute check-config`."""

import asyncio
import re
from collections.abc import Callable, Sequence

import msgspec

from fastroute.config import ServerConfig
from fastroute.control.http_client import ClientError, Reply, ServerClient
from fastroute.control.models import BadModels, fetch_models
from fastroute.control.scraper import ALL_METRICS
from fastroute.rules.load import NAMES, BadMetrics, parse_metrics

TIMEOUT = 5.0
"""Seconds for each question."""

_NAME = re.compile(rb"^(vllm:\w+)(?=[ {])", re.MULTILINE)


class ServerCheck(msgspec.Struct, kw_only=True):
    """What one server answered.

    Attributes:
        url: Of the server.
        error: Why it cannot be reached, or None.
        version: As it says, or None.
        models: Those it lists, or None where it lists none.
        metrics: The names that fastroute reads, as far as they are there.
        problems: What is wrong although it can be reached.
    """

    url: str
    error: str | None = None
    version: str | None = None
    models: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ()
    problems: list[str] = msgspec.field(default_factory=list)


class _Version(msgspec.Struct):
    version: str


async def check_servers(
    servers: Sequence[ServerConfig], answered: Callable[[], None]
) -> list[ServerCheck]:
    """Ask all servers at the same time.

    Args:
        servers: Whom to ask.
        answered: Called for each that is done.
    """

    async def check(server: ServerConfig) -> ServerCheck:
        try:
            return await check_server(server)
        finally:
            answered()

    return await asyncio.gather(*map(check, servers))


async def check_server(server: ServerConfig) -> ServerCheck:
    """Ask a server for its health, version, models and metrics."""
    found = ServerCheck(url=server.url)
    client = ServerClient(server.address, called=server.called, api_key=server.api_key)
    try:
        await _check_health(client, found)
        if found.error is None:
            await _check_version(client, found)
            await _check_models(client, found, server)
            await _check_metrics(client, found)
    finally:
        client.close()
    return found


async def _check_health(client: ServerClient, found: ServerCheck) -> None:
    try:
        reply = await client.get("/health", TIMEOUT)
    except ClientError as error:
        found.error = str(error)
        return
    if reply.status != 200:
        found.problems.append(f"/health answers {reply.status}")


async def _check_version(client: ServerClient, found: ServerCheck) -> None:
    # Only vLLM tells; that another kind of server does not is no problem.
    try:
        reply = await client.get("/version", TIMEOUT)
        found.version = msgspec.json.decode(reply.body, type=_Version).version
    except (ClientError, msgspec.DecodeError, UnicodeDecodeError):
        found.version = None


async def _check_models(client: ServerClient, found: ServerCheck, server: ServerConfig) -> None:
    try:
        found.models = tuple(await fetch_models(client, TIMEOUT))
    except (ClientError, BadModels) as error:
        if server.models is None:
            found.problems.append(f"its models are not known: {error}")
        return
    missing = [name for name in server.models or () if name not in found.models]
    if missing:
        found.problems.append(f"it does not list {', '.join(missing)}")


async def _check_metrics(client: ServerClient, found: ServerCheck) -> None:
    try:
        reply: Reply = await client.get(ALL_METRICS, TIMEOUT)
    except ClientError as error:
        found.problems.append(f"its load is not known: {error}")
        return
    if reply.status != 200:
        found.problems.append(f"its load is not known: {ALL_METRICS} answers {reply.status}")
        return
    present = {name.decode() for name in _NAME.findall(reply.body)}
    found.metrics = tuple(name for name in NAMES if name in present)
    try:
        parse_metrics(reply.body)
    except BadMetrics as error:
        found.problems.append(f"its load is not known: {error}")
