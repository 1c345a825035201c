"""Names in a PromQL expression: metrics, labels and values, found without parsing it."""

import re
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from fastroute.views.prometheus import metrics
from tests.support.views import example_view

METRIC = re.compile(r"\bfastroute_[a-z0-9_]+")
SELECTOR = re.compile(r"\b(fastroute_[a-z0-9_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance"}


@dataclass
class Rendered:
    """The samples of /metrics: their names, labels, and label values."""

    values: dict[str, dict[str, set[str]]]

    @classmethod
    def of_example(cls) -> "Rendered":
        """Return those of the example in docs/endpoints.md, which has all fields set."""
        text = metrics(example_view()).body.decode()
        values: dict[str, dict[str, set[str]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = values.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
        return cls(values)

    def faults(self, expression: str) -> list[str]:
        """Return the unknown names of an expression."""
        # The names of rules have colons, which a \b would split.
        expression = re.sub(r"\b\w+:[\w:]+", "", expression)
        used = METRIC.findall(expression)
        known = [self.values[name] for name in used if name in self.values]
        labels = OF_PROMETHEUS.union(*known)
        return [
            *(f"no metric {name}" for name in used if name not in self.values),
            *(
                fault
                for name, matchers in SELECTOR.findall(expression)
                for fault in self._selector_faults(name, matchers)
            ),
            *(
                f"no label {label}"
                for group in GROUPING.findall(expression)
                for label in filter(None, map(str.strip, group.split(",")))
                if label not in labels
            ),
        ]

    def _selector_faults(self, name: str, matchers: str) -> list[str]:
        found = []
        labels = self.values.get(name, {})
        for label, _, value in MATCHER.findall(matchers):
            if label in OF_PROMETHEUS:
                continue
            if label not in labels:
                found.append(f"{name} has no label {label}")
            elif not value.startswith("$"):
                wrong = set(value.split("|")) - labels[label]
                found.extend(f"{name} has no {label} {each}" for each in sorted(wrong))
        return found
