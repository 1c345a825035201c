"""Parsed URL of a server, or of a DNS name whose addresses are servers."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from fastroute.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}
PRINTABLE = re.compile(r"[!-~]+")
# Labels of up to 63 characters: resolvers reject longer ones, and empty ones.
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
URL_FORM = "must be http://host:port or https://host:port"
DNS_SUFFIX = "+dns"
DNS_FORM = "must be http+dns://name:port or https+dns://name:port"


class ServerAddress(msgspec.Struct, frozen=True):
    """Address at which a server listens.

    Attributes:
        host: Name or IP address, lower case, without the brackets of IPv6.
        port: TCP port.
        tls: True for https.
        authority: Value of the Host header: host, and the port if it is not the default one.
        follows_dns: True if each address of the name is a server.
    """

    host: str
    port: int
    tls: bool
    authority: str
    follows_dns: bool = False

    @property
    def is_ip(self) -> bool:
        """True if the host is an IP address, which needs no resolution."""
        return _is_ip_address(self.host)

    @property
    def tls_name(self) -> str | None:
        """The host name for SNI and for checking the certificate, or None without TLS.

        It does not include the dot at the end of a rooted name (RFC 6066, section 3).
        """
        return self.host.rstrip(".") if self.tls else None

    def at(self, host: str) -> "ServerAddress":
        """Return the server at one of the addresses (IPv4 or IPv6) of this name."""
        return _address(host, self.port, tls=self.tls)

    @property
    def url(self) -> str:
        """The complete URL, with the port: `http://[::1]:8000`."""
        scheme = ("https" if self.tls else "http") + (DNS_SUFFIX if self.follows_dns else "")
        return f"{scheme}://{_bracketed(self.host)}:{self.port}"

    @classmethod
    def from_url(cls, url: str) -> "ServerAddress":
        """Parse the URL of a server, or of a DNS name to resolve (`http+dns://name:port`).

        Raises:
            ConfigError: The URL is invalid; the message gives the required form.
        """
        # urlsplit silently drops line breaks and tabs, so check the whole URL first.
        if not PRINTABLE.fullmatch(url):
            raise ConfigError(URL_FORM)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(URL_FORM) from None
        scheme = parts.scheme.removesuffix(DNS_SUFFIX)
        follows_dns = scheme != parts.scheme
        form = DNS_FORM if follows_dns else URL_FORM
        if scheme not in DEFAULT_PORTS:
            raise ConfigError(form)
        if "@" in parts.netloc:
            raise ConfigError(f"{form}, without user name and password")
        if parts.path not in ("", "/") or "?" in url or "#" in url:
            raise ConfigError(f"{form}, without path, query or fragment")
        host = _checked_host(parts.hostname or "", form)
        port = _checked_port(parts, DEFAULT_PORTS[scheme], form)
        if follows_dns and _is_ip_address(host):
            raise ConfigError(f"{form}; an address needs no DNS: write {scheme}://")
        return _address(host, port, tls=scheme == "https", follows_dns=follows_dns)


def _address(host: str, port: int, *, tls: bool, follows_dns: bool = False) -> ServerAddress:
    authority = _bracketed(host)
    if port != DEFAULT_PORTS["https" if tls else "http"]:
        authority += f":{port}"
    return ServerAddress(host, port, tls, authority, follows_dns)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _checked_port(parts: SplitResult, usual: int, form: str) -> int:
    try:
        port = usual if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigError(f"{form}, with a port from 1 to 65535")
    return port


def _checked_host(host: str, form: str) -> str:
    if ":" not in host:
        if HOST_NAME.fullmatch(host) is None:
            raise ConfigError(f"{form}, with a host name or an IP address")
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ConfigError(f"{form}, with a plain IPv6 address in the brackets")
    return str(address)


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
