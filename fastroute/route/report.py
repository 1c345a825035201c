"""Output of `fastroute route`: the chosen server, the reason, and a table of all servers."""

import os

import msgspec

from fastroute.printable import MAX_LINE, escaped_json, printable
from fastroute.route.explain import Explanation, Ranked
from fastroute.rules.server_state import ServerState
from fastroute.wording import count, percent

HEADINGS = ("SERVER", "CHANCE", "SCORE", "OWN", "OTHERS", "CAP", "")


def lines(explanation: Explanation) -> list[str]:
    """Return the result, and a table of all servers, the likeliest first."""
    rows = [HEADINGS, *map(_row, sorted(explanation.ranked, key=_order))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    table = []
    for first, *rest in rows:
        numbers = [f"{cell:>{width}}" for cell, width in zip(rest[:-1], widths[1:], strict=True)]
        table.append("  ".join((f"{first:<{widths[0]}}", *numbers, rest[-1])).rstrip())
    return [printable(explanation.words, MAX_LINE), "", *table]


def _order(ranked: Ranked) -> tuple[bool, float, float]:
    return bool(ranked.left_out), -ranked.chance, ranked.score


def _row(ranked: Ranked) -> tuple[str, ...]:
    server = ranked.server
    weight = "" if server.weight == 1 else f" x {server.weight:g}"
    return (
        printable(server.url),
        "-" if ranked.left_out else percent(ranked.chance),
        # The load of a server that is down is not scraped.
        "-" if server.state is ServerState.DOWN else f"{ranked.score:.2f}",
        count(server.in_flight),
        count(server.foreign_load),
        f"{server.max_concurrent_requests}{weight}",
        printable("; ".join(filter(None, (ranked.left_out, server.note))), MAX_LINE),
    )


def as_json(explanation: Explanation) -> bytes:
    """Return the explanation as a JSON object; docs/doctor.md describes it."""
    likely = explanation.likely
    whole = {
        "model": explanation.model,
        "policy": explanation.settings.policy,
        "chosen": likely[0].server.url if len(likely) == 1 else None,
        "among": [each.server.url for each in likely],
        "words": explanation.words,
        "servers": [
            {
                **msgspec.to_builtins(each.server),
                "state": each.server.state.name.lower(),
                "score": round(each.score, 4),
                "chance": round(each.chance, 4),
                "left_out": each.left_out,
            }
            for each in explanation.ranked
        ],
    }
    return msgspec.json.format(escaped_json(msgspec.json.encode(whole))) + os.linesep.encode()
