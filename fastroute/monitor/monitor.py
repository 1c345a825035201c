"""The running monitor: polls, draws, and handles keys and signals."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fastroute.monitor.keys import Key, KeyReader
from fastroute.monitor.poller import NoResponse, Poller
from fastroute.monitor.press import press
from fastroute.monitor.screen import Screen
from fastroute.monitor.terminal import is_foreground
from fastroute.monitor.view.picture import MonitorData, MonitorState
from fastroute.monitor.view.terminal import frame

POLL_INTERVAL = 1.0
"""Seconds."""

ESCAPE_TIMEOUT = 0.05
"""Seconds without input after which an escape byte is the Esc key, not the start of a sequence."""

FATAL_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Monitor:
    """One monitor on one screen."""

    def __init__(
        self,
        poller: Poller,
        screen: Screen,
        log: Sequence[str] | None = None,
        on_cover: Callable[[bool], None] = lambda _: None,
        caption: Callable[[], str] = str,
    ) -> None:
        """Prepare, without showing anything.

        Args:
            poller: Polls the router to show.
            screen: Where to draw.
            log: Log lines, to which more may be added; None if the router logs elsewhere.
            on_cover: Called with True when the monitor takes the screen, with False when it leaves.
            caption: Returns a line to show above the servers; empty for none.
        """
        self._poller = poller
        self._screen = screen
        self._log = log
        self._on_cover = on_cover
        self._caption = caption
        self._keys = KeyReader()
        self._state = MonitorState()
        self._data: MonitorData = poller.data(log, caption())
        self._ended = asyncio.Event()
        self._redraw: asyncio.Handle | None = None

    async def run(self) -> None:
        """Show the monitor until its user quits or `end` is called, then restore the terminal."""
        with self._signals():
            polling = asyncio.get_running_loop().create_task(self._keep_polling())
            try:
                self._enter()
                ended = asyncio.get_running_loop().create_task(self._ended.wait())
                done, _ = await asyncio.wait((polling, ended), return_when="FIRST_COMPLETED")
                ended.cancel()
                if polling in done:
                    polling.result()  # Polling ends only by raising: a bug in fastroute.
            finally:
                polling.cancel()
                self._leave()
                self._ended.set()

    def end(self) -> None:
        """Make `run` return."""
        self._ended.set()

    # The screen.

    def _enter(self) -> None:
        if self._screen.is_entered or self._ended.is_set():
            return
        self._on_cover(True)
        self._screen.enter(self._feed)
        self._draw()

    def _leave(self) -> None:
        if self._redraw is not None:
            self._redraw.cancel()
            self._redraw = None
        if self._screen.is_entered:
            self._screen.leave()
        self._on_cover(False)

    def _draw_soon(self) -> None:
        """Draw in the loop's next iteration; several calls before then draw once."""
        if self._redraw is None:
            self._redraw = asyncio.get_running_loop().call_soon(self._draw)

    def _draw(self) -> None:
        self._redraw = None
        if self._screen.is_entered:
            width, height = self._screen.size()
            self._screen.draw(frame(self._data, self._state, width, height), width)
        if self._screen.is_lost:
            self.end()

    # Responses and keys.

    async def _keep_polling(self) -> None:
        while True:
            # The data to show includes the error.
            with contextlib.suppress(NoResponse):
                await self._poller.poll()
            if not self._state.paused:
                self._data = self._poller.data(self._log, self._caption())
            self._draw_soon()
            await asyncio.sleep(POLL_INTERVAL)

    def _feed(self, data: bytes) -> None:
        if self._screen.is_lost:
            self.end()
            return
        self._handle_keys(self._keys.feed(data))
        if self._keys.is_unfinished:
            asyncio.get_running_loop().call_later(ESCAPE_TIMEOUT, self._flush_keys)

    def _flush_keys(self) -> None:
        self._handle_keys(self._keys.flush())

    def _handle_keys(self, keys: list[Key]) -> None:
        for key in keys:
            if key == Key.QUIT:
                self.end()
                return
            urls = [line.server.url for line in self._data.lines(self._state.sort)]
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
        for signum in FATAL_SIGNALS:
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
        """Handle Ctrl-Z: restore the terminal for the shell, then stop the process."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        # A background job must not use the terminal; `fg` sends the signal again.
        if is_foreground():
            self._enter()

    def _die(self, signum: signal.Signals) -> None:
        """Restore the terminal, then end by the signal, as without the monitor."""
        self._leave()
        asyncio.get_running_loop().remove_signal_handler(signum)
        os.kill(os.getpid(), signum)
