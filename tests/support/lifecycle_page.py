"""The table of endings in docs/lifecycle.md, from the code; run as a module, it renders it."""

import re
from pathlib import Path

from fastroute.rules.outcome import ENDINGS, Ending, Next, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
PART = re.compile(r"(?<=<!-- rendered: endings -->\n).*?(?=<!-- end -->)", re.DOTALL)
METRICS = {
    "requests_local": "`fastroute_local_requests_total`",
    "requests_refused": "`fastroute_refused_requests_total`",
    "unknown_models": "`fastroute_unknown_model_requests_total`",
    "unrouted_503": "`fastroute_unrouted_requests_total`",
    None: "`fastroute_requests_total`, `2xx` to `5xx`",
    "failed": "`fastroute_requests_total`, `failed`",
    "aborts_waiting": "`fastroute_aborts_total`, `waiting`",
    "aborts_replying": "`fastroute_aborts_total`, `replying`",
}
"""The metric of each column that counts endings."""
SERVERS = {
    Next.ONCE_MORE: "other server, or the same on a new connection",
    Next.OTHER_SERVER: "other server",
}
CONDITIONS = {None: "always", "": "if `retry_on` has the status"}


def with_endings(page: str) -> str:
    """Return the page with the table of endings renewed."""
    return PART.sub(lambda _: _table(), page)


def _table() -> str:
    heads = "| outcome | ended by | status | counted in | retry |\n| --- | --- | --- | --- | --- |"
    rows = [f"| `{each.value}` | {_cells(ENDINGS[each])} |" for each in Outcome]
    return "\n".join(("", heads, *rows, "", ""))


def _cells(ending: Ending) -> str:
    status = str(ending.status or "-")
    return " | ".join((ending.by.value, status, METRICS[ending.counter], _retry(ending)))


def _retry(ending: Ending) -> str:
    if ending.follow is Next.GIVE_UP:
        return "-"
    condition = CONDITIONS.get(ending.cause, f"if `retry_on` has `{ending.cause}`")
    limit = "; as a replay" if ending.is_replay else ""
    return f"{SERVERS[ending.follow]}, {condition}{limit}"


if __name__ == "__main__":
    PAGE.write_text(with_endings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
