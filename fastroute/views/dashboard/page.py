"""/dashboard: a single self-contained page that polls /load-stats.

Its parts are files in this folder, joined once when the process starts. The page loads nothing
from elsewhere, and its Content-Security-Policy allows nothing else: only its own script and style,
and connections only to fastroute.
"""

import hashlib
from base64 import b64encode
from pathlib import Path

from fastroute.views.view import Reply, View

FOLDER = Path(__file__).parent

SCRIPTS = (
    "format.js", "elements.js", "history.js", "chart.js", "notices.js", "table.js", "page.js",
)  # fmt: skip
"""The page's scripts; each uses only those before it."""

TYPE = "text/html; charset=utf-8"


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return the source expression by which a policy allows an inline script or style."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _assembled() -> Reply:
    style, script = _text("page.css"), "\n".join(map(_text, SCRIPTS))
    page = _text("page.html").replace("/* page.css */", style).replace("/* scripts */", script)
    body = page.encode()
    policy = (
        "default-src 'none'",
        f"style-src {_source(style)}",
        f"script-src {_source(script)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Names and reasons come from servers, so text must never be parsed as markup.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    fields = {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        # Cached but revalidated each time, so that nobody sees the old page after an update.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }
    encoded = tuple((name.encode(), value.encode()) for name, value in fields.items())
    return Reply(200, body, TYPE, encoded)


PAGE = _assembled()


def dashboard(view: View) -> Reply:
    """Return the page."""
    return PAGE
