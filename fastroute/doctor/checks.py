"""All checks of the doctor, in the order of its report. To add a check, add a row.

A row names a measurement, which writes into `Facts`, and a judgement, a pure function which reads
them and returns findings. Rows may share a measurement; it is taken once.
"""

import enum
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from fastroute.config import Config
from fastroute.doctor.facts import Facts
from fastroute.doctor.findings import Findings
from fastroute.doctor.judge.answers import (
    judge_capacity,
    judge_filtered,
    judge_key,
    judge_metrics,
    judge_models,
)
from fastroute.doctor.judge.connection import (
    judge_clock,
    judge_keep_alive,
    judge_reach,
    judge_tls,
)
from fastroute.doctor.judge.fleet import judge_aliases, judge_versions
from fastroute.doctor.judge.generation import judge_abort, judge_stream
from fastroute.doctor.measure.answers import (
    measure_filtered,
    measure_metrics,
    measure_models,
    measure_version,
)
from fastroute.doctor.measure.bench import Bench
from fastroute.doctor.measure.generation import measure_abort, measure_stream
from fastroute.doctor.measure.keep_alive import measure_keep_alive
from fastroute.doctor.measure.reach import measure_reach

Measure = Callable[[Bench, Facts], Awaitable[None]]


class Kind(enum.Enum):
    """Cost of a measurement; measurements of one kind run one after another."""

    QUICK = "quick"
    """One or two requests. They run before all others, and are part of check-config."""
    IDLE = "idle"
    """Several seconds of waiting, concurrently with GENERATION."""
    GENERATION = "generation"
    """A small generation."""


class Check(msgspec.Struct, frozen=True):
    """One check of each server.

    Attributes:
        name: Name in the report.
        kind: Kind of its measurement.
        measure: Writes its results into the facts; never raises because of a server's behaviour.
        judge: Returns findings for the facts; none if the check does not apply.
    """

    name: str
    kind: Kind
    measure: Measure
    judge: Callable[[Facts], Findings]


class FleetCheck(msgspec.Struct, frozen=True):
    """One check of all servers together, based on the measurements of each."""

    name: str
    measure: Measure
    judge: Callable[[Config, Sequence[Facts]], Findings]


REACHABLE = Check("reachable", Kind.QUICK, measure_reach, judge_reach)
"""The first check: a server that does not respond gets no further requests."""

CHECKS = (
    REACHABLE,
    Check("TLS", Kind.QUICK, measure_reach, judge_tls),
    Check("clock", Kind.QUICK, measure_reach, judge_clock),
    Check("models", Kind.QUICK, measure_models, judge_models),
    Check("API key", Kind.QUICK, measure_models, judge_key),
    Check("metrics", Kind.QUICK, measure_metrics, judge_metrics),
    Check("scrape", Kind.QUICK, measure_filtered, judge_filtered),
    Check("capacity", Kind.QUICK, measure_metrics, judge_capacity),
    Check("keep-alive", Kind.IDLE, measure_keep_alive, judge_keep_alive),
    Check("stream", Kind.GENERATION, measure_stream, judge_stream),
    Check("abort", Kind.GENERATION, measure_abort, judge_abort),
)

FLEET_CHECKS = (
    FleetCheck("versions", measure_version, judge_versions),
    FleetCheck("aliases", measure_models, judge_aliases),
)
