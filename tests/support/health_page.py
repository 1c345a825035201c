"""The tables of docs/health.md, from the code; run as a module, it renders them."""

import re
from pathlib import Path

from fastroute.rules.evidence import EVIDENCE
from fastroute.rules.health import WAYS_BACK

PAGE = Path(__file__).parents[2] / "docs" / "health.md"
PART = re.compile(r"(?<=<!-- rendered: )(\S+) -->\n.*?(?=<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the page with each part between `<!-- rendered: X -->` and `<!-- end -->` updated."""
    parts = {"evidence": _evidence, "ways-back": _ways_back}
    return PART.sub(lambda found: f"{found[1]} -->\n{parts[found[1]]()}", page)


def _evidence() -> str:
    rows = ((row.seen, row.weight.value, row.reason) for row in EVIDENCE)
    return _table(("seen", "consequence", "reason"), *rows)


def _ways_back() -> str:
    rows = ((row.state.name, row.requests, row.cause, row.back) for row in WAYS_BACK)
    return _table(("state", "requests", "cause", "left for"), *rows)


def _table(heads: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    lines = (heads, ("---",) * len(heads), *rows)
    return "\n".join(("", *(f"| {' | '.join(cells)} |" for cells in lines), "", ""))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
