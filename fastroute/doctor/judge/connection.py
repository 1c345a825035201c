"""Judgements of a server's name, connection, certificate, clock and keep-alive. Pure: no I/O."""

from datetime import UTC, datetime

from fastroute.doctor.facts import Facts, KeepAlive, Reach, Step
from fastroute.doctor.findings import Findings, error, ok, unknown, warning
from fastroute.wording import seconds

DAY = 86_400.0
EXPIRES_SOON = 14 * DAY
"""Seconds. ACME clients renew 30 days ahead, so a renewal has failed by then."""

CLOCK_TOLERANCE = 5.0
"""Seconds. A smaller difference is invisible in logs; network delay cannot cause a larger one."""

CLOSED_AT_ONCE = 0.1
"""Seconds; a server that closes within this time does not support keep-alive."""

KEEP_ALIVE_MARGIN = 0.5
"""Seconds: time for a request to arrive, and half a second between checks of deadlines."""

REMEDIES = {
    Step.NAME: "correct the host in its url, or the DNS or /etc/hosts of this machine",
    Step.CONNECT: (
        "is vLLM running there, with --host 0.0.0.0 and this --port? Is there a firewall or a "
        "network policy in between?"
    ),
    Step.TLS: (
        "for a private CA, set SSL_CERT_FILE to a file with all trusted certificates; "
        "the host in url must be in the certificate"
    ),
    Step.ANSWER: (
        "a program listens there, but hangs or does not speak HTTP: check the log of vLLM, and "
        "the port in url"
    ),
}


def judge_reach(facts: Facts) -> Findings:
    """Check if the server responds."""
    reach = facts.reach
    if reach is None:
        return []
    if reach.step is not Step.DONE:
        return error(reach.error, _remedy(facts, reach))
    if reach.status is None or not 200 <= reach.status < 300:
        return error(
            f"/health returns {reach.status}",
            "fastroute marks it down: check the log of vLLM; if it is not vLLM, set "
            "enable_active_health_check = false",
        )
    return ok(_way(reach) + _slow_connect(facts, reach))


def _remedy(facts: Facts, reach: Reach) -> str:
    if reach.speaks_tls:
        return f"it expects TLS: write {facts.server.url.replace('http:', 'https:', 1)}"
    if reach.step is Step.TLS and "WRONG_VERSION_NUMBER" in reach.error.upper().replace(" ", "_"):
        return f"it does not support TLS: write {facts.server.url.replace('https:', 'http:', 1)}"
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
    return f", close to connect_timeout ({seconds(limit)})" if taken > limit / 2 else ""


def judge_tls(facts: Facts) -> Findings:
    """Check the certificate's end; an untrusted one is already an error of `judge_reach`."""
    reach = facts.reach
    if reach is None or not facts.server.address.tls or reach.step is not Step.DONE:
        return []
    certificate = reach.certificate
    if certificate is None:
        return unknown("the certificate cannot be read")
    left = certificate.expires_at - reach.asked_at
    date = datetime.fromtimestamp(certificate.expires_at, UTC).strftime("%Y-%m-%d")
    words = f"certificate issued by {certificate.issuer}, valid until {date}"
    if left < EXPIRES_SOON:
        return warning(f"{words}, only {left / DAY:.0f} days", "renew it and restart the server")
    return ok(f"{certificate.protocol}; {words}")


def judge_clock(facts: Facts) -> Findings:
    """Compare its clock with the local one."""
    reach = facts.reach
    if reach is None or reach.step is not Step.DONE:
        return []
    if reach.clock_ahead is None:
        return unknown("no Date header in its response")
    if abs(reach.clock_ahead) <= CLOCK_TOLERANCE:
        return ok("same time as here, within a second")
    way = "ahead of" if reach.clock_ahead > 0 else "behind"
    return warning(
        f"{seconds(abs(reach.clock_ahead))} {way} the local clock",
        "use NTP on both: log lines and traces of the two cannot be matched, and certificates "
        "may appear expired",
    )


def judge_keep_alive(facts: Facts) -> Findings:
    """Compare how long the server and fastroute's pool keep an idle connection."""
    kept = facts.keep_alive
    if kept is None:
        return []
    if kept.error:
        return unknown(f"could not be measured: {kept.error}")
    ours = facts.config.pool_idle_timeout
    if kept.closed_after is None:
        return _kept_longer(kept, ours)
    words = f"closes idle connections after {kept.closed_after:.1f} s"
    pool = f"pool_idle_timeout is {ours:g} s"
    if ours == 0:
        return ok(f"{words}; {pool}: no connection is kept")
    if kept.closed_after < CLOSED_AT_ONCE:
        return warning(
            "closes the connection after each response",
            "each request needs a new one: enable keep-alive in the proxy in front of vLLM",
        )
    if kept.closed_after < ours + KEEP_ALIVE_MARGIN:
        below = max(0.0, kept.closed_after - 2 * KEEP_ALIVE_MARGIN)
        return warning(
            f"{words}; {pool}: a request may be sent on a connection that is being closed",
            f"set pool_idle_timeout = {below:.1f}, or raise vLLM's "
            "VLLM_HTTP_TIMEOUT_KEEP_ALIVE (seconds)",
        )
    return ok(f"{words}; {pool}, which is shorter")


def _kept_longer(kept: KeepAlive, ours: float) -> Findings:
    words = f"an idle connection was still open after {kept.waited:.1f} s"
    if kept.waited < ours + KEEP_ALIVE_MARGIN:
        return unknown(f"{words}; pool_idle_timeout is {ours:g} s, longer than this check waits")
    return ok(f"{words}; pool_idle_timeout is {ours:g} s")
