"""The good responses of one server, counted for the models of which requests failed lately."""

from collections.abc import Iterator, Mapping

from fastroute.control.fleet.published_row import PublishedRow


class Proofs:
    """Counts of good responses to inference requests, by model.

    Only models that are compared are counted: to look at all of them takes too long where a server
    has 10,000.
    """

    __slots__ = ("_row", "_totals")

    def __init__(self, row: PublishedRow) -> None:
        """Begin without any.

        Args:
            row: The server's row of the score table.
        """
        self._row = row
        self._totals: dict[str, int] = {}

    def count(self, slots: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        """Yield the good responses of each model since the last call; none of the first time.

        Args:
            slots: Slot of each model.
        """
        before = self._totals
        self._totals = {model: self._row.count_proofs(slot) for model, slot in slots.items()}
        for model, total in self._totals.items():
            new = total - before.get(model, total)
            if new > 0:
                yield model, new
