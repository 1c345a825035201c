"""What a server's name, connection, certificate, clock and keep-alive mean. Pure: no I/O."""

from datetime import UTC, datetime

from fastroute.doctor.facts import Facts, KeepAlive, Reach, Step
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.wording import seconds

DAY = 86_400.0
EXPIRES_SOON = 14 * DAY
"""Seconds; renewals by ACME come 30 days ahead, so that one has failed by then."""

CLOCK_TOLERANCE = 5.0
"""Seconds; less is seen in no log, and more comes of no network."""

CLOSED_AT_ONCE = 0.1
"""Seconds; a server that closes so soon keeps no connection at all."""

KEEP_ALIVE_MARGIN = 0.5
"""Seconds. A request on its way takes some, and fastroute looks at deadlines each half second."""

REMEDIES = {
    Step.NAME: "correct the host in its url, or the DNS or /etc/hosts of this machine",
    Step.CONNECT: (
        "is vLLM running there, started with --host 0.0.0.0 and this --port? Is a firewall or a "
        "network policy between?"
    ),
    Step.TLS: (
        "for an authority of your own, point SSL_CERT_FILE at a file with all that are trusted; "
        "the name in url must be in the certificate"
    ),
    Step.ANSWER: (
        "something listens and is no HTTP server, or hangs: see the log of vLLM, and whether "
        "the port is right"
    ),
}


def judge_reach(facts: Facts) -> Findings:
    """Judge whether it answers."""
    reach = facts.reach
    if reach is None:
        return []
    if reach.step is not Step.DONE:
        return error(reach.error, _remedy(facts, reach))
    if reach.status is None or not 200 <= reach.status < 300:
        return error(
            f"/health answers {reach.status}",
            "fastroute takes it out: see the log of vLLM; if it is no vLLM, set "
            "enable_active_health_check = false",
        )
    return ok(_way(reach) + _slow_connect(facts, reach))


def _remedy(facts: Facts, reach: Reach) -> str:
    if reach.speaks_tls:
        return f"it speaks TLS: write {facts.server.url.replace('http:', 'https:', 1)}"
    if reach.step is Step.TLS and "WRONG_VERSION_NUMBER" in reach.error.upper().replace(" ", "_"):
        return f"it speaks no TLS: write {facts.server.url.replace('https:', 'http:', 1)}"
    return REMEDIES[reach.step]


def _way(reach: Reach) -> str:
    several = f" of {len(reach.addresses)} addresses" if len(reach.addresses) > 1 else ""
    return (
        f"name{several} resolved in {seconds(reach.lookup)}, connected in "
        f"{seconds(reach.connect)}, /health in {seconds(reach.answer)}"
    )


def _slow_connect(facts: Facts, reach: Reach) -> str:
    limit = facts.config.connect_timeout
    taken = (reach.lookup or 0.0) + (reach.connect or 0.0)
    return f", near to connect_timeout ({seconds(limit)})" if taken > limit / 2 else ""


def judge_tls(facts: Facts) -> Findings:
    """Judge the certificate; one that is not trusted was an error of reaching it already."""
    reach = facts.reach
    if reach is None or not facts.server.address.tls or reach.step is not Step.DONE:
        return []
    certificate = reach.certificate
    if certificate is None:
        return unknown("its certificate cannot be read")
    left = certificate.expires_at - reach.asked_at
    date = datetime.fromtimestamp(certificate.expires_at, UTC).strftime("%Y-%m-%d")
    words = f"its certificate by {certificate.issuer} is valid until {date}"
    if left < EXPIRES_SOON:
        return warning(f"{words}, only {left / DAY:.0f} days", "renew it, and restart the server")
    return ok(f"{certificate.protocol}; {words}")


def judge_clock(facts: Facts) -> Findings:
    """Judge its clock against ours."""
    reach = facts.reach
    if reach is None or reach.step is not Step.DONE:
        return []
    if reach.clock_ahead is None:
        return unknown("it sends no Date")
    if abs(reach.clock_ahead) <= CLOCK_TOLERANCE:
        return ok("as ours, as far as whole seconds tell")
    way = "ahead of" if reach.clock_ahead > 0 else "behind"
    return warning(
        f"{seconds(abs(reach.clock_ahead))} {way} ours",
        "set both by NTP: log lines and traces of the two cannot be matched, and certificates "
        "may be taken for expired",
    )


def judge_keep_alive(facts: Facts) -> Findings:
    """Judge how long it keeps an idle connection, against how long fastroute's pool does."""
    kept = facts.keep_alive
    if kept is None:
        return []
    if kept.error:
        return unknown(f"could not be measured: {kept.error}")
    ours = facts.config.pool_idle_timeout
    if kept.closed_after is None:
        return _kept_longer(kept, ours)
    words = f"it closes idle connections after {kept.closed_after:.1f} s"
    pool = f"pool_idle_timeout is {ours:g} s"
    if ours == 0:
        return ok(f"{words}; {pool}: none is kept")
    if kept.closed_after < CLOSED_AT_ONCE:
        return warning(
            "it keeps no connection open after an answer",
            "each request pays for a new one: allow keep-alive in what stands before vLLM",
        )
    if kept.closed_after < ours + KEEP_ALIVE_MARGIN:
        below = max(0.0, kept.closed_after - 2 * KEEP_ALIVE_MARGIN)
        return warning(
            f"{words}; {pool}: a request may meet a connection that is being closed",
            f"set pool_idle_timeout = {below:.1f}, or for vLLM raise "
            "VLLM_HTTP_TIMEOUT_KEEP_ALIVE (seconds)",
        )
    return ok(f"{words}; {pool}, which is less")


def _kept_longer(kept: KeepAlive, ours: float) -> Findings:
    words = f"an idle connection was still open after {kept.waited:.1f} s"
    if kept.waited < ours + KEEP_ALIVE_MARGIN:
        return unknown(f"{words}; pool_idle_timeout is {ours:g} s, longer than was waited")
    return ok(f"{words}; pool_idle_timeout is {ours:g} s")
