"""TLS certificates of an authority of our own."""

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class Authority:
    """Issues certificates, and says who trusts it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def of_server(self, name: str, expires: datetime | None = None) -> ssl.SSLContext:
        """A context for a server of that name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_after=expires).configure_cert(context)
        return context

    def trusting(self) -> ssl.SSLContext:
        """A context for a client that trusts this authority."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def file(self, folder: Path) -> str:
        """A file for SSL_CERT_FILE."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(path))
        return str(path)
