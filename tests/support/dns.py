"""A local DNS server, and processes that use only this server.

The system's resolver finds it in /etc/resolv.conf, which such a process has to itself in a separate
mount namespace (`unshare` is in util-linux). This, and a socket on port 53, need root.
"""

import contextlib
import ipaddress
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest

A, AAAA, INTERNET = 1, 28, 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
HEADER = struct.Struct("!HHHHHH")
ANSWERED = 0x8180
"""Flags of a response: recursion desired and available."""


class Mood(Enum):
    """Behaviour of the server."""

    GOOD = "with what it has"
    FAILING = "with SERVFAIL"
    SILENT = "not at all"


class DnsServer:
    """Serves A and AAAA records; a name without records does not exist (NXDOMAIN).

    Attributes:
        address: Its address; it listens on port 53.
        records: Addresses by name; replace them as a whole.
        mood: Its behaviour.
    """

    def __init__(self) -> None:
        self.records: dict[str, tuple[str, ...]] = {}
        self.mood = Mood.GOOD
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Other tests may run on this machine.
        self.address = f"127.53.{random.randrange(256)}.{random.randrange(1, 255)}"
        self._socket.bind((self.address, 53))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", (self.address, 53))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(512)
            if not question:
                return
            if self.mood is not Mood.SILENT:
                self._socket.sendto(self._reply(question), asker)

    def _reply(self, question: bytes) -> bytes:
        id_ = HEADER.unpack_from(question)[0]
        name, end = _name(question)
        kind = struct.unpack_from("!H", question, end)[0]
        asked = question[HEADER.size : end + 4]
        known = self.records.get(name)
        code = SERVER_FAILURE if self.mood is Mood.FAILING else NO_ERROR if known else NO_SUCH_NAME
        version = {A: 4, AAAA: 6}.get(kind)
        addresses = [ipaddress.ip_address(each) for each in known or ()] if not code else []
        found = [each.packed for each in addresses if each.version == version]
        head = HEADER.pack(id_, ANSWERED | code, 1, len(found), 0, 0)
        # A pointer to the name in the question, type, class, for how long (s), length.
        answers = [
            struct.pack("!HHHIH", 0xC000 | HEADER.size, kind, INTERNET, 1, len(each)) + each
            for each in found
        ]
        return head + asked + b"".join(answers)


def _name(question: bytes) -> tuple[str, int]:
    """Return the requested name, and its end."""
    labels, at = [], HEADER.size
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1


@contextlib.contextmanager
def dns_server() -> Iterator[DnsServer]:
    """Run a DNS server; without the required rights the test is skipped, and fails in CI."""
    refusal = _refusal()
    if refusal is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"discovery cannot be tested end to end: {refusal}")
        pytest.skip(f"needs root: {refusal}")
    made = DnsServer()
    try:
        yield made
    finally:
        made.close()


def _refusal() -> str | None:
    tried = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return tried.stderr.strip()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.53.0.1", 53))
    except PermissionError as error:
        return f"port 53: {error.strerror}"
    return None


def python_that_asks(server: DnsServer, folder: Path, *, timeout: int = 1) -> str:
    """Write a command that runs this Python with the server as its only DNS.

    Args:
        server: The DNS server.
        folder: Folder for the command.
        timeout: Seconds after which the system's resolver gives up.
    """
    files = {
        "resolv.conf": f"nameserver {server.address}\noptions timeout:{timeout} attempts:1\n",
        "nsswitch.conf": "hosts: files dns\n",
        "hosts": "127.0.0.1 localhost\n",
    }
    mounts = []
    for name, text in files.items():
        (folder / name).write_text(text)
        mounts.append(f"mount --bind '{folder / name}' /etc/{name}")
    command = folder / "python-with-dns"
    inner = " && ".join([*mounts, f'exec {sys.executable} "$@"'])
    command.write_text(f'#!/bin/sh\nexec unshare --mount sh -c "{_quoted(inner)}" sh "$@"\n')
    command.chmod(0o755)
    return str(command)


def _quoted(text: str) -> str:
    return text.replace('"', '\\"').replace("$", "\\$")
