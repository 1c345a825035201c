"""The effect of each key on the monitor's state."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from fastroute.monitor.keys import Key
from fastroute.monitor.view.picture import MonitorState, Page

PAGE_STEP = 10
STEPS = {
    Key.UP: -1,
    Key.DOWN: 1,
    Key.PAGE_UP: -PAGE_STEP,
    Key.PAGE_DOWN: PAGE_STEP,
}
MAX_SCROLL = 1_000


def press(key: Key, state: MonitorState, urls: Sequence[str]) -> MonitorState:
    """Return the state after a key press.

    Args:
        key: Any key; one without a function here returns the same state.
        state: The state before.
        urls: The servers' URLs in their displayed order.
    """
    if key in STEPS or key in (Key.HOME, Key.END):
        return _move(key, state, urls) if state.page == Page.TABLE else _scroll(key, state)
    change = CHANGES.get(key)
    return state if change is None else change(state)


def _move(key: Key, state: MonitorState, urls: Sequence[str]) -> MonitorState:
    if not urls:
        return state
    at = urls.index(state.selected) if state.selected in urls else 0
    last = len(urls) - 1
    moved = {Key.HOME: 0, Key.END: last}.get(key, at + STEPS.get(key, 0))
    return msgspec.structs.replace(state, selected=urls[max(0, min(last, moved))])


def _scroll(key: Key, state: MonitorState) -> MonitorState:
    # Log lines are shown from the end, so that up increases the distance to it.
    upwards = state.page == Page.LOG
    step = -STEPS.get(key, 0) if upwards else STEPS.get(key, 0)
    first, last = (MAX_SCROLL, 0) if upwards else (0, MAX_SCROLL)
    scroll = {Key.HOME: first, Key.END: last}.get(key, state.scroll + step)
    return msgspec.structs.replace(state, scroll=max(0, min(MAX_SCROLL, scroll)))


def _sort(state: MonitorState) -> MonitorState:
    return msgspec.structs.replace(state, sort=state.sort.next())


def _pause(state: MonitorState) -> MonitorState:
    return msgspec.structs.replace(state, paused=not state.paused)


def _to(page: Page) -> Callable[[MonitorState], MonitorState]:
    """Return a change that opens a page, or the table if that page is already open."""

    def turn(state: MonitorState) -> MonitorState:
        return msgspec.structs.replace(
            state, page=Page.TABLE if state.page == page else page, scroll=0
        )

    return turn


def _enter(state: MonitorState) -> MonitorState:
    return _to(Page.SERVER)(state) if state.page == Page.TABLE else state


def _back(state: MonitorState) -> MonitorState:
    return msgspec.structs.replace(state, page=Page.TABLE, scroll=0)


CHANGES: Mapping[Key, Callable[[MonitorState], MonitorState]] = {
    Key.SORT: _sort,
    Key.PAUSE: _pause,
    Key.ENTER: _enter,
    Key.ESCAPE: _back,
    Key.LOG: _to(Page.LOG),
    Key.HELP: _to(Page.HELP),
}
