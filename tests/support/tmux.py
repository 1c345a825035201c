"""A terminal for tests that type and read: tmux, with a separate server."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.command import wait_until
from tests.support.programs import require

PROMPT = "ready:"


class Terminal:
    """A shell in a terminal."""

    def __init__(self, socket: Path, width: int, height: int) -> None:
        self._socket = socket
        size = ("-x", str(width), "-y", str(height))
        shell = f"env PS1={PROMPT} TERM=screen-256color sh -i"
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, shell)

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", str(self._socket), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout

    def type(self, text: str) -> None:
        """Type a line and press enter."""
        self.tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, such as Up, Enter, Escape, C-c, q."""
        self.tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, *, colours: bool = False) -> str:
        """Return the current screen."""
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def history(self) -> str:
        """Return the screen and the scrollback."""
        return self.tmux("capture-pane", "-p", "-S", "-")

    def is_on_other_screen(self) -> bool:
        return self.tmux("display-message", "-p", "#{alternate_on}").strip() == "1"

    def cursor_is_visible(self) -> bool:
        return self.tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def settings(self) -> str:
        """Return the output of stty; only while no program reads the input."""
        device = self.tmux("display-message", "-p", "#{pane_tty}").strip()
        done = subprocess.run(
            ["stty", "-a", "-F", device], capture_output=True, text=True, check=True
        )
        return done.stdout

    def wait_for(self, text: str, seconds: float = 15.0) -> str:
        """Wait until the screen contains a text; return the screen."""
        try:
            wait_until(lambda: text in self.screen(), seconds)
        except TimeoutError:
            raise AssertionError(f"no {text!r} on:\n{self.screen()}") from None
        return self.screen()


@contextlib.contextmanager
def terminal(width: int = 80, height: int = 24) -> Iterator[Terminal]:
    """Run a terminal with a shell; all its programs are stopped at the end."""
    require("tmux", "tmux")
    # Not pytest's folder, because the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="fastroute-") as folder:
        shell = Terminal(Path(folder, "tmux"), width, height)
        try:
            shell.wait_for(PROMPT)
            yield shell
        finally:
            shell.tmux("kill-server")
