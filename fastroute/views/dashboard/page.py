"""/dashboard: one page with all in it, which asks /load-stats again and again.

Its parts are files beside this one. They are put together once, when a worker starts, so the page
needs nothing from elsewhere, and the policy sent with it allows nothing else: no script or style
but these very ones, and no connection but to fastroute.
"""

import hashlib
from base64 import b64encode
from pathlib import Path

from fastroute.views.view import Reply, View

FOLDER = Path(__file__).parent

SCRIPTS = ("words.js", "elements.js", "history.js", "chart.js", "trouble.js", "table.js", "page.js")
"""In the order in which they use each other."""

TYPE = "text/html; charset=utf-8"


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return what a policy names an inline script or style by."""
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
        # Names and reasons come from servers: nothing may make markup of text.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    fields = {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        # Kept, but asked for each time: after an update nobody sees the old page.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }
    encoded = tuple((name.encode(), value.encode()) for name, value in fields.items())
    return Reply(200, body, TYPE, encoded)


PAGE = _assembled()


def dashboard(view: View) -> Reply:
    """Return the page."""
    return PAGE
