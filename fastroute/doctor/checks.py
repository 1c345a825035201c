"""All that the doctor looks at, in the order of its report. To add a check, add a row.

A row names what it measures and what that means: a measurement writes into `Facts`, a judgement
reads there and is pure. Rows may share a measurement; it is taken once.
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
    """What a measurement costs; those of one kind follow each other."""

    QUICK = "quick"
    """A question or two. All of them come before the others, and all are part of check-config."""
    IDLE = "idle"
    """Waiting, seconds long, beside the next."""
    GENERATION = "generation"
    """A generation, small as it is."""


class Check(msgspec.Struct, frozen=True):
    """One check of each server.

    Attributes:
        name: In the report.
        kind: Of its measurement.
        measure: Writes what it finds into the facts; raises nothing for what a server does.
        judge: Says what the facts mean; nothing where the check does not apply.
    """

    name: str
    kind: Kind
    measure: Measure
    judge: Callable[[Facts], Findings]


class FleetCheck(msgspec.Struct, frozen=True):
    """One check of all servers together, by what was measured of each."""

    name: str
    measure: Measure
    judge: Callable[[Config, Sequence[Facts]], Findings]


REACHABLE = Check("reachable", Kind.QUICK, measure_reach, judge_reach)
"""The first: nothing else is asked of a server that does not answer."""

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
