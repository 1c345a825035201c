"""SECURITY.md states the limits of the code."""

from pathlib import Path

import pytest

from fastroute.control.fleet import model_budget
from fastroute.control.watch import models
from fastroute.control.workers import watchdog
from fastroute.ipc import logs
from fastroute.net import http_client
from fastroute.printable import MAX_CHARACTERS, MAX_LINE
from fastroute.rules import headers, load, response

PAGE = " ".join((Path(__file__).parents[1] / "SECURITY.md").read_text().split())


@pytest.mark.parametrize(
    "text",
    [
        f"all different ones together | {models.MAX_MODELS:,};",
        f"{models.MAX_NAME_CHARACTERS} characters; longer ones are ignored",
        f"object of a model | {models.MAX_CARD_BYTES >> 10} KB;",
        f"for clients | {models.MAX_LIST_BYTES >> 20} MB;",
        f"names of all servers: {model_budget.MAX_CHARACTERS:,} characters",
        f"{load.MAX_METRICS_BYTES >> 20} MB, {load.MAX_SAMPLES:,} samples",
        f"{load.MAX_SAMPLE_BYTES:,} bytes each",
        f"{http_client.MAX_BODY_BYTES >> 20} MB of body",
        f"{http_client.MAX_OVERHEAD_BYTES >> 20} MB for chunks and trailers;",
        f"trailers; {http_client.MAX_PIECES:,} pieces",
        f"{http_client.MAX_HEAD_BYTES >> 10} KB, {headers.MAX_FIELDS} headers, ",
        f"{response.MAX_INFORMATIONAL} informational heads",
        f"shortened to {MAX_CHARACTERS} characters, a line of the log to {MAX_LINE:,}",
        f"permissions {logs.FILE_MODE:04o}",
    ],
)
def test_limits(text):
    assert text in PAGE


def test_kills():
    assert watchdog.KILL_INTERVAL == 60
    assert "at most one in a minute" in PAGE
