"""What can only be judged of all servers together. Pure: no I/O."""

from collections.abc import Sequence

from fastroute.config import Config
from fastroute.doctor.facts import Facts
from fastroute.doctor.findings import Findings, error, ok, unknown, warning


def judge_aliases(config: Config, servers: Sequence[Facts]) -> Findings:
    """Judge whether some server has what each alias stands for."""
    if not config.aliases:
        return []
    models: set[str] = set()
    for facts in servers:
        if facts.known_models is None:
            return unknown(f"the models of {facts.server.url} are not known, so it may have any")
        models.update(facts.known_models)
    lost = [(alias, model) for alias, model in config.aliases.items() if model not in models]
    findings: Findings = []
    for alias, model in lost:
        findings += error(
            f"alias {alias} stands for {model}, which no server has",
            "requests for it get 404: correct [config] aliases, or start a server with that model",
        )
    return findings or ok(f"all {len(config.aliases)} stand for models that are there")


def judge_versions(config: Config, servers: Sequence[Facts]) -> Findings:
    """Judge whether all run the same vLLM."""
    told: dict[str, list[str]] = {}
    for facts in servers:
        if facts.version is not None:
            told.setdefault(facts.version, []).append(facts.server.url)
    silent = [f.server.url for f in servers if f.is_reached and f.version is None]
    if len(told) > 1:
        each = "; ".join(f"{version}: {', '.join(urls)}" for version, urls in told.items())
        return warning(
            f"servers differ: {each}",
            "the same request may be answered in two ways: run one version, but for the time of "
            "an update",
        )
    if silent:
        return unknown(f"{', '.join(silent)} tells none")
    return ok(f"all run {next(iter(told))}") if told else []
