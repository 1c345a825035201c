"""A router in front of failing servers, and one request after another."""

import http.client
import json
from pathlib import Path

from tests.support.command import RunningCommand, running, wait_until
from tests.support.config_file import write_config
from tests.support.failing_server import MODEL, FailingServer

RUN = ("run", "--host", "127.0.0.1", "--port", "0")
JSON = {"Content-Type": "application/json"}


def start_router(folder: Path, *servers: FailingServer | dict, **settings):
    """Return a context that runs a router for servers, or entries of servers.toml."""
    path = folder / "servers.toml"
    entries = [each if isinstance(each, dict) else each.url for each in servers]
    write_config(path, *entries, **settings)
    return running(folder, *RUN, "--config", str(path), "--workers", "1")


def ask(router: RunningCommand, path: str = "/v1/chat/completions", **body) -> tuple[int, bytes]:
    """Send one request on a new connection; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=60)
    try:
        sent = json.dumps({"model": MODEL, **body})
        connection.request("POST", path, sent, JSON)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def try_to_ask(router: RunningCommand, **body) -> int:
    """The status, or 0 if the response broke."""
    try:
        return ask(router, **body)[0]
    except (OSError, http.client.HTTPException):
        return 0


def states(router: RunningCommand) -> set[str]:
    return set(router.statuses().values())


def wait_for_models(router: RunningCommand, servers: int) -> None:
    wait_until(lambda: router.stderr().count(f"has models: {MODEL}") == servers)
