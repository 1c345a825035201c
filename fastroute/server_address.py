"""Where a server listens: its URL, taken apart."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from fastroute.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}
PRINTABLE = re.compile(r"[!-~]+")
# Labels of up to 63 characters: a resolver refuses longer ones, and empty ones.
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
URL_FORM = "must be http://host:port or https://host:port"


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a server listens.

    Attributes:
        host: Name or IP address, lower case, without the brackets of IPv6.
        port: TCP port.
        tls: Whether to speak https.
        authority: What a Host field says of it: host, and the port where it is not the usual one.
    """

    host: str
    port: int
    tls: bool
    authority: str

    @classmethod
    def from_url(cls, url: str) -> "ServerAddress":
        """Take a server's URL apart.

        Raises:
            ConfigError: It is no URL of a server; the message says what it must be.
        """
        # urlsplit drops line breaks and tabs without a word, so look at the whole first.
        if not PRINTABLE.fullmatch(url):
            raise ConfigError(URL_FORM)
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(URL_FORM) from None
        if parts.scheme not in DEFAULT_PORTS:
            raise ConfigError(URL_FORM)
        if "@" in parts.netloc:
            raise ConfigError(f"{URL_FORM}, without user name and password")
        if parts.path not in ("", "/") or "?" in url or "#" in url:
            raise ConfigError(f"{URL_FORM}, without path, query or fragment")
        host = _checked_host(parts.hostname or "")
        usual_port = DEFAULT_PORTS[parts.scheme]
        port = _checked_port(parts, usual_port)
        authority = f"[{host}]" if ":" in host else host
        if port != usual_port:
            authority += f":{port}"
        return cls(host=host, port=port, tls=parts.scheme == "https", authority=authority)


def _checked_port(parts: SplitResult, usual: int) -> int:
    try:
        port = usual if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigError(f"{URL_FORM}, with a port from 1 to 65535")
    return port


def _checked_host(host: str) -> str:
    if ":" not in host:
        if HOST_NAME.fullmatch(host) is None:
            raise ConfigError(f"{URL_FORM}, with a host name or an IP address")
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ConfigError(f"{URL_FORM}, with a plain IPv6 address in the brackets")
    return str(address)
