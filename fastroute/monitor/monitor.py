"""The monitor at work: polls, draws, and does what keys and signals say."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fastroute.monitor.keys import Key, KeyReader
from fastroute.monitor.poller import NoAnswer, Poller
from fastroute.monitor.press import press
from fastroute.monitor.screen import Screen
from fastroute.monitor.terminal import is_foreground
from fastroute.monitor.view.picture import MonitorData, MonitorState
from fastroute.monitor.view.terminal import frame

POLL_INTERVAL = 1.0
"""Seconds."""

ESCAPE_TIMEOUT = 0.05
"""Seconds after which an escape is the key of that name, and not the begin of another."""

DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Monitor:
    """One monitor on one screen."""

    def __init__(
        self,
        poller: Poller,
        screen: Screen,
        log: Sequence[str] | None = None,
        covered: Callable[[bool], None] = lambda _: None,
        caption: Callable[[], str] = str,
    ) -> None:
        """Prepare, without showing anything.

        Args:
            poller: Of the fastroute to be shown.
            screen: Where.
            log: Log lines, which may become more; None: there are none here.
            covered: Called with whether the monitor has the terminal, when that changes.
            caption: Returns a line to be shown; nothing if it is empty.
        """
        self._poller = poller
        self._screen = screen
        self._log = log
        self._covered = covered
        self._caption = caption
        self._keys = KeyReader()
        self._state = MonitorState()
        self._picture: MonitorData = poller.picture(log, caption())
        self._ended = asyncio.Event()
        self._redraw: asyncio.Handle | None = None

    async def run(self) -> None:
        """Show the monitor until its user or `end` ends it; the terminal is as before then."""
        with self._signals():
            polling = asyncio.get_running_loop().create_task(self._keep_polling())
            try:
                self._enter()
                ended = asyncio.get_running_loop().create_task(self._ended.wait())
                done, _ = await asyncio.wait((polling, ended), return_when="FIRST_COMPLETED")
                ended.cancel()
                if polling in done:
                    polling.result()  # It ends only by a mistake of ours.
            finally:
                polling.cancel()
                self._leave()
                self._ended.set()

    def end(self) -> None:
        """Have `run` return."""
        self._ended.set()

    # The screen.

    def _enter(self) -> None:
        if self._screen.is_entered or self._ended.is_set():
            return
        self._covered(True)
        self._screen.enter(self._typed)
        self._draw()

    def _leave(self) -> None:
        if self._redraw is not None:
            self._redraw.cancel()
            self._redraw = None
        if self._screen.is_entered:
            self._screen.leave()
        self._covered(False)

    def _draw_soon(self) -> None:
        """Draw in the next turn of the loop, once however often it is asked for."""
        if self._redraw is None:
            self._redraw = asyncio.get_running_loop().call_soon(self._draw)

    def _draw(self) -> None:
        self._redraw = None
        if self._screen.is_entered:
            width, height = self._screen.size()
            self._screen.draw(frame(self._picture, self._state, width, height), width)
        if self._screen.is_lost:
            self.end()

    # What comes in.

    async def _keep_polling(self) -> None:
        while True:
            # The trouble is in the picture.
            with contextlib.suppress(NoAnswer):
                await self._poller.poll()
            if not self._state.paused:
                self._picture = self._poller.picture(self._log, self._caption())
            self._draw_soon()
            await asyncio.sleep(POLL_INTERVAL)

    def _typed(self, data: bytes) -> None:
        if self._screen.is_lost:
            self.end()
            return
        self._obey(self._keys.feed(data))
        if self._keys.is_unfinished:
            asyncio.get_running_loop().call_later(ESCAPE_TIMEOUT, self._nothing_more)

    def _nothing_more(self) -> None:
        self._obey(self._keys.flush())

    def _obey(self, keys: list[Key]) -> None:
        for key in keys:
            if key == Key.QUIT:
                self.end()
                return
            urls = [line.server.url for line in self._picture.lines(self._state.sort)]
            self._state = press(key, self._state, urls)
        self._draw_soon()

    # Signals.

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGWINCH: self._draw_soon,
            signal.SIGTSTP: self._suspend,
            signal.SIGCONT: self._resume,
        }
        for signum in DEADLY:
            if signal.getsignal(signum) is signal.SIG_DFL:
                handlers[signum] = partial(self._die, signum)
        for signum, handler in handlers.items():
            loop.add_signal_handler(signum, handler)
        try:
            yield
        finally:
            for signum in handlers:
                loop.remove_signal_handler(signum)

    def _suspend(self) -> None:
        """Ctrl-Z: stop, with the terminal as the shell wants it."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        # In the background there is no terminal for us; `fg` sends the signal again.
        if is_foreground():
            self._enter()

    def _die(self, signum: signal.Signals) -> None:
        """End by a signal that would have ended us with the terminal as it was."""
        self._leave()
        asyncio.get_running_loop().remove_signal_handler(signum)
        os.kill(os.getpid(), signum)
