"""The servers of each model compared with each other: which of them requests eject now."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from fastroute.rules.outlier import (
    Sample,
    Window,
    is_outlier,
    may_eject,
    pooled,
)
from fastroute.rules.server_state import ServerState

S = TypeVar("S", bound=Hashable)
"""A server: any key that stays the same while the server does."""


class Ejection(NamedTuple, Generic[S]):
    """A server that is to be ejected.

    Attributes:
        server: Its key.
        reason: The comparison in figures, for the log.
    """

    server: S
    reason: str


class Comparison(Generic[S]):
    """Ended requests of all servers, by server and model.

    A window exists from the first failure until it is empty again, so a fleet without failures
    costs nothing; what was answered before the first failure is not counted.
    """

    __slots__ = ("_models", "_windows")

    def __init__(self) -> None:
        self._windows: dict[tuple[S, str], Window] = {}
        self._models: set[str] = set()  # those with windows

    def watched(self) -> set[str]:
        """Return the models of which requests failed within the window.

        Only for these the caller needs to count what was answered.
        """
        return set(self._models)

    def add_answered(self, server: S, model: str, count: int, now: float) -> None:
        """Count good responses (2xx, 3xx) to inference requests."""
        self._window(server, model).add_answered(count, now)

    def add_failed(
        self, server: S, model: str, count: int, now: float, *, unreachable: bool
    ) -> None:
        """Count failed requests; see `Window.add_failed`."""
        self._window(server, model).add_failed(count, now, unreachable=unreachable)

    def forget(self, server: S) -> None:
        """Drop the windows of a server that was removed, or that begins a new life."""
        self._keep([key for key in self._windows if key[0] != server])

    def sample(self, server: S, model: str, now: float) -> Sample:
        """Return what one server did for one model within the window."""
        window = self._windows.get((server, model))
        return Sample() if window is None else window.sample(now)

    def outliers(  # noqa: PLR0913  facts of one moment, none of which belong together elsewhere
        self,
        now: float,
        models: Mapping[str, Sequence[S]],
        state_of: Callable[[S], ServerState],
        delivering: Collection[S],
        *,
        threshold: int,
        max_percent: float,
    ) -> list[Ejection[S]]:
        """Return the servers to be ejected now, worst first for each model.

        Args:
            now: Seconds of the caller's clock.
            models: Servers by model.
            state_of: Returns the state of a server.
            delivering: Servers from which bytes of good responses came lately.
            threshold: `failure_threshold`.
            max_percent: `max_ejection_percent`, 0 to 100.
        """
        self._drop_empty(now)
        found: dict[S, Ejection[S]] = {}
        on_trial = {s for s, _ in self._windows if state_of(s) is ServerState.TRIAL}
        for model in self._suspect_models(now, threshold, on_trial):
            servers = models.get(model, ())
            samples = {server: self.sample(server, model, now) for server in servers}
            states = {
                server: ServerState.EJECTED if server in found else state_of(server)
                for server in servers
            }
            for server in sorted(servers, key=lambda each: -samples[each].failed_share):
                if not may_eject(states[server], states.values(), max_percent):
                    continue
                peers = pooled(sample for other, sample in samples.items() if other != server)
                own = samples[server]
                if is_outlier(
                    own,
                    peers,
                    threshold=threshold,
                    delivering=server in delivering,
                    on_trial=states[server] is ServerState.TRIAL,
                ):
                    states[server] = ServerState.EJECTED
                    found[server] = Ejection(server, _in_figures(model, own, peers))
        return list(found.values())

    def _suspect_models(self, now: float, threshold: int, on_trial: Collection[S]) -> set[str]:
        """Return the models with a server for which there is enough evidence to look closer."""
        return {
            model
            for (server, model), window in self._windows.items()
            if window.sample(now).moments >= (1 if server in on_trial else threshold)
        }

    def _window(self, server: S, model: str) -> Window:
        self._models.add(model)
        return self._windows.setdefault((server, model), Window())

    def _keep(self, keys: Sequence[tuple[S, str]]) -> None:
        """Drop all other windows."""
        if len(keys) < len(self._windows):
            self._windows = {key: self._windows[key] for key in keys}
            self._models = {model for _, model in keys}

    def _drop_empty(self, now: float) -> None:
        failing = {
            model for (_, model), window in self._windows.items() if window.sample(now).failed
        }
        self._keep([key for key in self._windows if key[1] in failing])


def _in_figures(model: str, server: Sample, peers: Sample) -> str:
    named = f" for {model}" if model else ""
    of_server = f"{server.failed} of {server.failed + server.answered} requests{named} failed"
    if not peers.failed + peers.answered:
        return of_server
    return f"{of_server}, of the other servers' {peers.failed} of {peers.failed + peers.answered}"
