"""docs/images/monitor.png, the monitor of `fastroute demo`; run as a module to update it.

It shows a terminal (tmux) while a server is down, rendered by Chromium.
"""

import subprocess
import tempfile
from pathlib import Path

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Span, Text

from tests.support.command import wait_until
from tests.support.monitor_terminal import FASTROUTE, wait_for_monitor
from tests.support.tmux import terminal

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "monitor.png"
WIDTH, HEIGHT = 128, 15
FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 18, 14
"""Pixels."""
CELL_WIDTH = 0.60205
"""Width of DejaVu Sans Mono, as a share of the font size."""
BACKGROUND, DEFAULT_COLOR = Color.parse("#181b20"), Color.parse("#d4d7dc")
THEME = TerminalTheme(
    tuple(BACKGROUND.triplet),
    tuple(DEFAULT_COLOR.triplet),
    [
        *((68, 73, 82), (224, 92, 92), (104, 184, 96), (222, 176, 72)),
        *((96, 152, 232), (190, 132, 224), (80, 184, 196), (212, 215, 220)),
    ],
)
PAGE = f"""<!doctype html><meta charset="utf-8"><style>{{stylesheet}}
body {{{{ margin: {MARGIN}px; background: {{background}}; color: {{foreground}} }}}}
pre {{{{ margin: 0; font: {FONT_SIZE}px/{LINE_HEIGHT}px "DejaVu Sans Mono", monospace }}}}
</style><pre>{{code}}</pre>"""


def take() -> str:
    """Run the demo until a server is down, and return its screen with colours."""
    with terminal(WIDTH, HEIGHT) as shell:
        shell.type(f"{FASTROUTE} demo --servers 5 --outage-every 24")
        wait_for_monitor(shell)
        # Some requests must fail before.
        shell.wait_for("the first byte p99 of the others", 120)
        shell.wait_for("down for 3", 60)
        screen = shell.screen(colours=True)
        shell.press("q")
        wait_until(lambda: not shell.is_on_other_screen())
    return screen


def _with_plain_reverse(text: Text) -> Text:
    """Replace reverse video by colours: the export does not reverse the terminal's default ones."""
    for place, span in enumerate(text.spans):
        if isinstance(span.style, Style) and span.style.reverse:
            color = span.style.color
            color = DEFAULT_COLOR if color is None or color.is_default else color
            swapped = Style(color=BACKGROUND, bgcolor=color, bold=span.style.bold)
            text.spans[place] = Span(span.start, span.end, swapped)
    return text


def draw(screen: str, image: Path) -> None:
    """Write a screen as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "monitor.html")
        with Path(folder, "printed").open("w") as printed:
            console = Console(file=printed, record=True, width=WIDTH, force_terminal=True)
            console.print(_with_plain_reverse(Text.from_ansi(screen.rstrip("\n"))), soft_wrap=True)
            page.write_text(console.export_html(theme=THEME, code_format=PAGE))
        width = round(WIDTH * FONT_SIZE * CELL_WIDTH) + 2 * MARGIN
        height = HEIGHT * LINE_HEIGHT + 2 * MARGIN
        image.parent.mkdir(exist_ok=True)
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update"),
                *("--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1.35"),
                f"--user-data-dir={folder}/profile",
                f"--window-size={width},{height}",
                f"--screenshot={image}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    draw(take(), IMAGE)
