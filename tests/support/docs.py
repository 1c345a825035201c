"""The rendered parts of docs/endpoints.md; run as a module to update them."""

import re
from collections.abc import Callable
from pathlib import Path

import orjson
from prometheus_client.parser import text_string_to_metric_families

from fastroute.views.endpoints import ENDPOINTS, VIEWS
from fastroute.views.prometheus import metrics
from tests.support.views import example_view

PAGE = Path(__file__).parents[2] / "docs" / "endpoints.md"
PART = re.compile(r"(?<=<!-- rendered: )(\S+) -->\n.*?(?=<!-- end -->)", re.DOTALL)


def with_examples(page: str) -> str:
    """Return the page with each part between `<!-- rendered: X -->` and `<!-- end -->` updated."""
    return PART.sub(lambda found: f"{found[1]} -->\n{_part(found[1])}", page)


def _part(name: str) -> str:
    parts: dict[str, Callable[[], str]] = {"endpoints": _endpoints, "metrics": _metrics}
    return parts[name]() if name in parts else _example(name)


def _endpoints() -> str:
    lines = [f"| `{endpoint.path.decode()}` | {endpoint.about} |" for endpoint in ENDPOINTS]
    return "\n".join(("", "| path | response |", "| --- | --- |", *lines, "", ""))


def _metrics() -> str:
    text = metrics(example_view()).body.decode()
    lines = []
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for s in family.samples for label in s.labels)
        own_first = sorted(labels, key=lambda label: label not in ("server", "model"))
        shown = ", ".join(f"`{label}`" for label in own_first if label != "le")
        lines.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    heads = ("| name | type | labels | meaning |", "| --- | --- | --- | --- |")
    return "\n".join(("", *heads, *lines, "", ""))


def _example(path: str) -> str:
    reply = VIEWS[path.encode()](example_view())
    body = orjson.dumps(orjson.loads(reply.body), option=orjson.OPT_INDENT_2).decode()
    return f"```json\n{body}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(with_examples(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
