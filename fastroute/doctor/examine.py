"""Measures all servers concurrently and lets the checks judge the results."""

import asyncio
import ssl
from collections.abc import Callable, Collection, Sequence

import msgspec

from fastroute.config import Config, ServerConfig
from fastroute.control.watch.name_check import NameCheck
from fastroute.doctor.checks import CHECKS, FLEET_CHECKS, REACHABLE, Kind, Measure
from fastroute.doctor.facts import Facts
from fastroute.doctor.findings import Finding, Severity, verdict
from fastroute.doctor.measure.bench import Bench

NAME = "names"
"""Check name of findings about DNS names."""


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings, with the name of their check, in the order of the checks.

    Attributes:
        facts: Measurements of each server.
        servers: Findings for each server.
        fleet: Findings for all servers together.
        names: Results of resolving the DNS names that stand for servers.
    """

    facts: Sequence[Facts]
    servers: Sequence[Sequence[tuple[str, Finding]]]
    fleet: Sequence[tuple[str, Finding]]
    names: Sequence[NameCheck] = ()

    @property
    def verdict(self) -> Severity:
        """The highest severity of all findings."""
        return max(verdict_of(named) for named in (*self.servers, self.fleet))


def verdict_of(named: Sequence[tuple[str, Finding]]) -> Severity:
    return verdict(finding for _, finding in named)


def measures(kinds: Collection[Kind]) -> dict[Kind, list[Measure]]:
    """Return the measurements of the given kinds, each once, in the order of their checks."""
    found: dict[Kind, list[Measure]] = {kind: [] for kind in kinds}
    rows = [(check.kind, check.measure) for check in CHECKS]
    for kind, measure in (*rows, *((Kind.QUICK, check.measure) for check in FLEET_CHECKS)):
        if kind in found and measure not in found[kind]:
            found[kind].append(measure)
    return found


async def examine(
    config: Config,
    kinds: Collection[Kind],
    measured: Callable[[], None],
    tls: ssl.SSLContext | None = None,
) -> list[Facts]:
    """Measure all servers of a configuration.

    Args:
        config: Servers and settings.
        kinds: Kinds of measurements to take.
        measured: Called after each measurement of each server, also if it was skipped.
        tls: Context for https; None trusts the system's certificate authorities.
    """
    if tls is None and any(server.address.tls for server in config.servers):
        tls = ssl.create_default_context()
    wanted = measures(kinds)

    async def of_server(server: ServerConfig) -> Facts:
        facts = Facts(server=server, config=config)
        bench = Bench(server, tls)
        try:
            await _measure(bench, facts, wanted, measured)
        finally:
            bench.close()
        return facts

    return await asyncio.gather(*map(of_server, config.servers))


async def _measure(
    bench: Bench, facts: Facts, wanted: dict[Kind, list[Measure]], measured: Callable[[], None]
) -> None:
    async def in_turn(kind: Kind) -> None:
        for measure in wanted.get(kind, ()):
            if measure is REACHABLE.measure or facts.is_reached:
                await measure(bench, facts)
            measured()

    await in_turn(Kind.QUICK)
    # Traffic on the server's other connections does not affect this idle one.
    await asyncio.gather(in_turn(Kind.IDLE), in_turn(Kind.GENERATION))


def diagnose(config: Config, facts: Sequence[Facts], names: Sequence[NameCheck] = ()) -> Diagnosis:
    """Judge the measurements.

    Args:
        config: The configuration, with DNS names replaced by the servers they resolve to.
        facts: Measurements of its servers, in the same order.
        names: Results of resolving the names.
    """
    # The models of a server that was not found are unknown.
    fleet_checks = FLEET_CHECKS if all(name.addresses for name in names) else ()
    on_names = [
        (NAME, Finding(Severity.ERROR if not name.addresses else Severity.WARNING, words))
        for name in names
        for words in (f"{name.url}: {problem}" for problem in name.problems)
    ]
    return Diagnosis(
        facts=facts,
        servers=[
            [(check.name, finding) for check in CHECKS for finding in check.judge(each)]
            for each in facts
        ],
        fleet=[
            *on_names,
            *(
                (check.name, finding)
                for check in fleet_checks
                for finding in check.judge(config, facts)
            ),
        ],
        names=names,
    )
