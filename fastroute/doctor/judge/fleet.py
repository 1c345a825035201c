"""Judgements of all servers together. Pure: no I/O."""

from collections.abc import Sequence

from fastroute.config import Config
from fastroute.doctor.facts import Facts
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.printable import listed, printable


def judge_aliases(config: Config, servers: Sequence[Facts]) -> Findings:
    """Check that the model of each alias is on some server."""
    if not config.aliases:
        return []
    models: set[str] = set()
    for facts in servers:
        if facts.known_models is None:
            return unknown(f"the models of {facts.server.url} are unknown; it may have any")
        models.update(facts.known_models)
    lost = [(alias, model) for alias, model in config.aliases.items() if model not in models]
    findings: Findings = []
    for alias, model in lost:
        findings += error(
            f"alias {alias}: no server has its model {model}",
            "requests for it get 404: correct aliases in [config], or start a server with "
            "that model",
        )
    count = len(config.aliases)
    return findings or ok(f"{count} of {count} have a server with their model")


def judge_versions(config: Config, servers: Sequence[Facts]) -> Findings:
    """Check that all servers run the same version of vLLM."""
    told: dict[str, list[str]] = {}
    for facts in servers:
        if facts.version is not None:
            told.setdefault(facts.version, []).append(facts.server.url)
    silent = [f.server.url for f in servers if f.is_reached and f.version is None]
    if len(told) > 1:
        each = "; ".join(f"{printable(each)}: {listed(urls)}" for each, urls in told.items())
        return warning(
            f"different versions: {each}",
            "the same request may get different responses: run one version, except during "
            "an update",
        )
    if silent:
        return unknown(f"not reported by {listed(silent)}")
    return ok(f"all run {printable(next(iter(told)))}") if told else []
