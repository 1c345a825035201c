"""The question of a health check, and which responses are good ones."""

from typing import NamedTuple

DEFAULT_PATH = "/health"
"""Where vLLM answers 200 with an empty body."""

FALLBACK_PATH = "/v1/models"
"""A path of every OpenAI-compatible server, for those without `DEFAULT_PATH`."""

ABSENT = frozenset((404, 405, 501))
"""Statuses of a server that does not know a path or the method GET there (RFC 9110 15.5.5)."""


class HealthCheck(NamedTuple):
    """The health check of one server.

    Attributes:
        path: Path and query of the request.
        statuses: Statuses of a good response; none for any 2xx.
    """

    path: str = DEFAULT_PATH
    statuses: tuple[int, ...] = ()

    def accepts(self, status: int) -> bool:
        """Return True if a response is a good one."""
        return status in self.statuses if self.statuses else 200 <= status < 300

    def path_after(self, path: str, status: int) -> str | None:
        """Return the path to ask in place of one that the server does not have, or None.

        A path that was set by the operator is the only one that is asked.
        """
        if path == self.path == DEFAULT_PATH and status in ABSENT and not self.accepts(status):
            return FALLBACK_PATH
        return None

    def complaint(self, path: str, status: int) -> str:
        """Return why a response is not a good one, and what to set if it should be."""
        wanted = "2xx" if not self.statuses else " or ".join(map(str, self.statuses))
        return (
            f"{path} returned {status}, not {wanted}; if that is correct for this server, set "
            "health_path or health_statuses"
        )
