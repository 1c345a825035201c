"""Limits for the models of all servers together, which each worker gets in one message."""

from collections.abc import Sequence

from fastroute.control.watch.models import MAX_MODELS

MAX_CHARACTERS = 4_000_000
"""Limit for the names of all servers: in UTF-8 they fit a message between processes."""

Names = tuple[str, ...] | None
"""The models of a server, or None if they are unknown."""


def within_budget(lists: Sequence[Names]) -> list[Names]:
    """Return the lists, of which the longest end early if they are too much together.

    Short lists are complete, so one server cannot hide the models of others.

    Args:
        lists: The names of each server's models.
    """
    if sum(len(names) for names in lists if names) <= MAX_MODELS:
        return list(lists)
    shortened = list(lists)
    known: set[str] = set()
    room = MAX_CHARACTERS
    for index in sorted(range(len(lists)), key=lambda index: len(lists[index] or ())):
        names = lists[index]
        if names is None:
            continue
        kept = []
        for name in names:
            if room < len(name) or (name not in known and len(known) == MAX_MODELS):
                break
            room -= len(name)
            known.add(name)
            kept.append(name)
        shortened[index] = tuple(kept)
    return shortened
