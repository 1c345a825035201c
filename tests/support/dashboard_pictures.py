"""The pictures in docs/images; run as a module, it takes them anew.

Of a real fastroute in front of stand-in servers with traffic, in which one server gets slow after
a while and another dies at the end: `python -m tests.support.dashboard_pictures --minutes 16`.
Needs Debian's chromium, chromium-driver and pngquant.
"""

import argparse
import contextlib
import http.client
import json
import math
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.support.browser import Browser, browser
from tests.support.command import RunningCommand, running, wait_until
from tests.support.standins import StandInProcess

FOLDER = Path(__file__).parents[2] / "docs" / "images"
SERVERS = 4
SLOTS = 6
SPEED = ("--ttft", "0.09", "--token-interval", "0.05")
MOST_CLIENTS = 18
WAVE_SECONDS = 240.0
SLOW_FROM = 0.7
"""Part of the time."""
DEAD_FOR = 15.0
"""Seconds before the pictures."""
MODEL = "llama-3.1-8b"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
FIELDS = {"Content-Type": "application/json"}


class Crowd:
    """Clients that read streams, in varying numbers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_again, args=(number,))
            for number in range(MOST_CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask_again(self, number: int) -> None:
        while not self._ended.is_set():
            wave = math.sin(2 * math.pi * (time.monotonic() - self._began) / WAVE_SECONDS)
            if number < MOST_CLIENTS * (0.65 + 0.35 * wave):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._ask(20 + 7 * number % 60, stream=number % 2 == 0)
            self._ended.wait(0.2 + 0.05 * number)

    def _ask(self, tokens: int, *, stream: bool) -> None:
        """Headers of streams arrive immediately, so only other responses show the delay."""
        asked = BODY | ({"stream": True, "max_tokens": tokens} if stream else {"max_tokens": 6})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", json.dumps(asked), FIELDS)
            connection.getresponse().read()


def take(minutes: float) -> None:
    """Run everything, and write the screenshots."""
    with contextlib.ExitStack() as stack:
        servers = []
        for number in range(1, SERVERS + 1):
            # On separate addresses, so that they have short names.
            address = ("--host", f"127.0.1.{number}", "--slots", str(SLOTS), "--model", MODEL)
            servers.append(StandInProcess(*address, *SPEED))
            stack.callback(servers[-1].kill)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = [part for server in servers for part in ("--server", server.url)]
        options = ("--host", "127.0.0.1", "--port", "0", "--max-load", str(SLOTS))
        router = stack.enter_context(running(folder, "run", *options, *urls))
        crowd = Crowd(router.port)
        stack.callback(crowd.end)
        view = stack.enter_context(browser())
        view.resize(1440, 900)
        view.get(f"{router.url}/dashboard")
        _let_trouble_come(servers, minutes * 60)
        _shoot(view, router)


def _let_trouble_come(servers: list[StandInProcess], seconds: float) -> None:
    time.sleep(seconds * SLOW_FROM)
    _set(servers[2], ttft=1.4)
    time.sleep(seconds * (1 - SLOW_FROM) - DEAD_FOR)
    servers[1].kill()
    time.sleep(DEAD_FOR)


def _set(server: StandInProcess, **changes: float) -> None:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", "/standin/set", json.dumps(changes), {"Connection": "close"})
        assert connection.getresponse().status == 200


def _shoot(view: Browser, router: RunningCommand) -> None:
    wait_until(lambda: "down" in view.text("#notices"))
    FOLDER.mkdir(exist_ok=True)
    for name, width, scheme in (
        ("dashboard", 1440, "light"),
        ("dashboard-dark", 1440, "dark"),
        ("dashboard-phone", 390, "light"),
    ):
        phone = width < 500
        view.prefer(scheme)
        view.resize(width, 1150 if phone else 830, phone=phone)
        time.sleep(1.5)
        (FOLDER / f"{name}.png").write_bytes(_smaller(view.get_screenshot_as_png()))
    assert not view.faults()
    assert router.in_flight() >= 0


def _smaller(png: bytes) -> bytes:
    """Reduce a picture to 64 colours, a third of the size."""
    command = ["pngquant", "--speed", "1", "--strip", "64", "-"]
    return subprocess.run(command, input=png, capture_output=True, check=True).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=16.0, help="of traffic before the pictures"
    )
    take(parser.parse_args().minutes)
