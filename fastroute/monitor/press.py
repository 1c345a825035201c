"""What a key changes in what is shown."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from fastroute.monitor.keys import Key
from fastroute.monitor.view.picture import Look, Page

PAGE_STEP = 10
STEPS = {
    Key.UP: -1,
    Key.DOWN: 1,
    Key.PAGE_UP: -PAGE_STEP,
    Key.PAGE_DOWN: PAGE_STEP,
}
MAX_SCROLL = 1_000


def press(key: Key, look: Look, urls: Sequence[str]) -> Look:
    """Return what is shown after a key.

    Args:
        key: Any; one that means nothing here changes nothing.
        look: What is shown now.
        urls: Those of the servers, as sorted now.
    """
    if key in STEPS or key in (Key.HOME, Key.END):
        return _move(key, look, urls) if look.page == Page.TABLE else _scroll(key, look)
    change = CHANGES.get(key)
    return look if change is None else change(look)


def _move(key: Key, look: Look, urls: Sequence[str]) -> Look:
    if not urls:
        return look
    at = urls.index(look.selected) if look.selected in urls else 0
    last = len(urls) - 1
    moved = {Key.HOME: 0, Key.END: last}.get(key, at + STEPS.get(key, 0))
    return msgspec.structs.replace(look, selected=urls[max(0, min(last, moved))])


def _scroll(key: Key, look: Look) -> Look:
    # Log lines are looked at from the end, so up is further away from it.
    upwards = look.page == Page.LOG
    step = -STEPS.get(key, 0) if upwards else STEPS.get(key, 0)
    first, last = (MAX_SCROLL, 0) if upwards else (0, MAX_SCROLL)
    scroll = {Key.HOME: first, Key.END: last}.get(key, look.scroll + step)
    return msgspec.structs.replace(look, scroll=max(0, min(MAX_SCROLL, scroll)))


def _sort(look: Look) -> Look:
    return msgspec.structs.replace(look, sort=look.sort.next())


def _pause(look: Look) -> Look:
    return msgspec.structs.replace(look, paused=not look.paused)


def _to(page: Page) -> Callable[[Look], Look]:
    """Return what turns to a page, or back to the servers if that page is shown already."""

    def turn(look: Look) -> Look:
        return msgspec.structs.replace(
            look, page=Page.TABLE if look.page == page else page, scroll=0
        )

    return turn


def _enter(look: Look) -> Look:
    return _to(Page.SERVER)(look) if look.page == Page.TABLE else look


def _back(look: Look) -> Look:
    return msgspec.structs.replace(look, page=Page.TABLE, scroll=0)


CHANGES: Mapping[Key, Callable[[Look], Look]] = {
    Key.SORT: _sort,
    Key.PAUSE: _pause,
    Key.ENTER: _enter,
    Key.ESCAPE: _back,
    Key.LOG: _to(Page.LOG),
    Key.HELP: _to(Page.HELP),
}
