"""Current state of the servers, fetched from the servers or from a running router."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from fastroute.api.report import ModelsReport, Report
from fastroute.config import Config, ServerConfig
from fastroute.control.watch.models import LISTING_TIMEOUT, BadModels, fetch_models
from fastroute.control.watch.prober import probe_once
from fastroute.control.watch.scraper import ScrapeError, Scraper
from fastroute.monitor.poller import fetch
from fastroute.net.http_client import ClientError, ServerClient
from fastroute.route.explain import Known, Settings
from fastroute.rules.load import foreign_load
from fastroute.rules.server_state import ServerState
from fastroute.server_address import ServerAddress


async def query_servers(
    config: Config, done: Callable[[], None]
) -> tuple[Sequence[Known], Settings]:
    """Query all servers concurrently, once, for what the supervisor polls.

    All load counts as that of other clients: the share of a running router is not known here.

    Args:
        config: Servers and settings.
        done: Called for each server when its query has finished.
    """
    tls = None
    if any(server.address.tls for server in config.servers):
        tls = ssl.create_default_context()

    async def of_server(server: ServerConfig) -> Known:
        client = ServerClient(server.address, called=server.called, api_key=server.api_key, tls=tls)
        with contextlib.closing(client):
            known = await _query_server(server, config, client)
        done()
        return known

    servers = await asyncio.gather(*map(of_server, config.servers))
    return servers, msgspec.convert(config, Settings, from_attributes=True)


async def _query_server(server: ServerConfig, config: Config, client: ServerClient) -> Known:
    known = Known(
        url=server.url,
        max_concurrent_requests=server.max_concurrent_requests,
        weight=server.weight,
        models=server.models,
    )
    if server.drain:
        return replace(known, state=ServerState.DRAINING, reason="drain = true")
    if config.enable_active_health_check:
        probe = await probe_once(
            client, config.health_check_of(server), config.health_check_timeout
        )
        if not probe.ok:
            return replace(known, state=ServerState.DOWN, reason=probe.reason)
    if server.models is None:
        with contextlib.suppress(ClientError, BadModels):
            known = replace(known, models=tuple(await fetch_models(client, LISTING_TIMEOUT)))
    try:
        report = await Scraper(client).scrape(config.scrape_timeout)
    except ScrapeError as error:
        return replace(known, note=f"load unknown, assumed to be 0: {error}")
    if report.asleep:
        known = replace(known, state=ServerState.ASLEEP, reason="its engine is asleep")
    load = foreign_load(report.running, report.waiting, config.waiting_weight, 0)
    return replace(known, foreign_load=load)


async def query_router(address: ServerAddress) -> tuple[Sequence[Known], Settings]:
    """Query a router for its servers, including its own requests in flight.

    Raises:
        NoResponse: No router answers there.
    """
    with contextlib.closing(ServerClient(address)) as client:
        _, stats = await fetch(client, "/load-stats", Report)
        _, models = await fetch(client, "/server-models", ModelsReport)
    by_url = models.by_url()
    servers = [
        Known(
            url=server.url,
            state=ServerState[server.status.upper()],
            reason=server.state_reason,
            max_concurrent_requests=server.max_capacity,
            weight=server.weight,
            in_flight=server.in_flight,
            foreign_load=server.foreign_load,
            models=by_url.get(server.url),
        )
        for server in stats.servers
    ]
    settings = Settings(
        policy=stats.summary.policy,
        busy_threshold=stats.summary.busy_threshold,
        aliases=models.aliases,
    )
    return servers, settings
