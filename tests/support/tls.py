"""TLS certificates of a private CA."""

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class Authority:
    """A CA that issues certificates."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def of_server(self, name: str, expires: datetime | None = None) -> ssl.SSLContext:
        """Return a context for a server with this name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_after=expires).configure_cert(context)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Return a context for a client that trusts this CA."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def file(self, folder: Path) -> str:
        """Write a file for SSL_CERT_FILE and return its path."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return str(path)
