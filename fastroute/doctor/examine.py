"""Measures all servers beside each other, and has the checks say what that means."""

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
"""What findings on DNS names stand under."""


class Diagnosis(msgspec.Struct, frozen=True):
    """What was found, by the name of the check, in the order of the checks.

    Attributes:
        facts: What was measured, of each server.
        servers: What that means, for each server.
        fleet: The same for all of them together.
        names: What became of the DNS names that stand for servers.
    """

    facts: Sequence[Facts]
    servers: Sequence[Sequence[tuple[str, Finding]]]
    fleet: Sequence[tuple[str, Finding]]
    names: Sequence[NameCheck] = ()

    @property
    def verdict(self) -> Severity:
        """The gravest of all."""
        return max(verdict_of(named) for named in (*self.servers, self.fleet))


def verdict_of(named: Sequence[tuple[str, Finding]]) -> Severity:
    return verdict(finding for _, finding in named)


def measures(kinds: Collection[Kind]) -> dict[Kind, list[Measure]]:
    """Return the measurements of some kinds, each once, in the order of their checks."""
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
        kinds: Of what is measured.
        measured: Called after each measurement of each server, left out or not.
        tls: For https; the system's authorities are trusted if there is none.
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
    # The server's other connections stay quiet meanwhile, or not: this one is idle either way.
    await asyncio.gather(in_turn(Kind.IDLE), in_turn(Kind.GENERATION))


def diagnose(config: Config, facts: Sequence[Facts], names: Sequence[NameCheck] = ()) -> Diagnosis:
    """Say what was measured means.

    Args:
        config: With the servers that were found in the places of names.
        facts: Of its servers, in order.
        names: Of the names.
    """
    # What a server that was not found has, nobody knows.
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
