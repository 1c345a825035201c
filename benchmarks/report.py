"""Write tables, plots and the README's summary from a raw file: `python -m benchmarks.report`.

python -m benchmarks.report                      # from benchmarks/results/bench.json
python -m benchmarks.report .bench/results/bench.json --no-readme
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import raw as raw_file
from benchmarks import tables
from benchmarks.charts import Chart
from benchmarks.comparison import figures
from benchmarks.comparison.environments import ROOT
from benchmarks.comparison.figures import spread_of
from benchmarks.comparison.peers import BASELINE
from benchmarks.comparison.stage import DIRECT
from benchmarks.raw import Raw

RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BEGIN = "<!-- bench: `make bench` writes what stands between these two lines -->"
END = "<!-- bench: end -->"
_SHORT_NAMES = {
    "json-saturated": "JSON, saturated",
    "json-2000": "JSON, 2,000/s",
    "prompts-100k": "100 KB prompts",
    "streams-256": "256 streams",
}


class NoBlock(Exception):
    """The README lacks the two lines that enclose the summary."""


def with_block(text: str, block: str) -> str:
    """Return a text with the block between its two marks replaced.

    Raises:
        NoBlock: A mark is missing or duplicated, or they are in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after or END in before:
        raise NoBlock(f"there must be one line {BEGIN} and, after it, one line {END}")
    return f"{before}{BEGIN}\n{block.strip()}\n{END}{after}"


def readme_block(raw: Raw, plots: list[str]) -> str:
    """Return the README's summary of a run."""
    where = "benchmarks/results"
    disturbed = tables.disturbed(raw)
    parts = [
        tables.targets(raw),
        tables.setting(raw) + (f" {disturbed}" if disturbed else ""),
        "\n".join(f"![{Path(name).stem}]({where}/{name})" for name in plots),
        (
            f"All figures: [{where}/bench.md]({where}/bench.md). How: "
            "[benchmarks/README.md](benchmarks/README.md)."
        ),
    ]
    return "\n\n".join(part.strip() for part in parts if part)


def charts(raw: Raw) -> dict[str, Chart]:
    """Return the plots by file name, except those without measurements."""
    cpu = {short: _cpu_bars(raw, name) for name, short in _SHORT_NAMES.items()}
    latency = {which: _latency_bars(raw, which) for which in ("p50", "p99")}
    made = {
        "cpu.svg": Chart(f"CPU per request or event, relative to {BASELINE} (less is better)", cpu),
        "latency.svg": Chart(
            "Latency added at 1,000 requests/s, in us (less is better)", latency, ",.0f"
        ),
    }
    return {
        name: chart._replace(groups={group: bars for group, bars in chart.groups.items() if bars})
        for name, chart in made.items()
        if any(chart.groups.values())
    }


def _cpu_bars(raw: Raw, scenario: str) -> dict[str, float]:
    rounds = raw.rounds.get(scenario, {})
    spreads = {who: spread_of(figures.ratios(rounds, who)) for who in rounds if who != DIRECT}
    return {who: spread.median for who, spread in spreads.items() if spread}


def _latency_bars(raw: Raw, which: str) -> dict[str, float]:
    rounds = raw.rounds.get("latency-1000", {})
    spreads = {
        who: spread_of(figures.added_latency(rounds, who, which)) for who in rounds if who != DIRECT
    }
    return {who: max(0.0, spread.median) for who, spread in spreads.items() if spread}


def write(raw: Raw, path: Path) -> list[str]:
    """Write tables and plots next to the raw file; return the names of the plots."""
    path.with_suffix(".md").write_text(tables.document(raw))
    made = charts(raw)
    for file, chart in made.items():
        (path.parent / file).write_text(chart.svg())
    return list(made)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("raw", nargs="?", type=Path, default=RESULTS / "bench.json")
    parser.add_argument("--no-readme", action="store_true", help="do not change README.md")
    parser.add_argument("--readme", type=Path, default=README, help="the file with the block")
    options = parser.parse_args(arguments)
    try:
        raw = raw_file.load(options.raw)
        plots = write(raw, options.raw)
        if not options.no_readme:
            text = options.readme.read_text()
            options.readme.write_text(with_block(text, readme_block(raw, plots)))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except msgspec.DecodeError as error:
        print(f"{options.raw}: {error}", file=sys.stderr)
        return 2
    except NoBlock as error:
        print(f"{options.readme}: {error}", file=sys.stderr)
        return 2
    print(tables.targets(raw))
    return 0


if __name__ == "__main__":
    sys.exit(main())
