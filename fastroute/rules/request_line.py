"""The first line of a request, and the first bytes of those who do not speak HTTP/1 at all.

The parser takes several spaces between the words of the line for one, and RTSP and ICE for HTTP.
Other programs do not, so such requests are refused, and the error names what was seen.
"""

from fastroute.errors import BadRequest
from fastroute.printable import printable_bytes
from fastroute.rules.framing import with_plain_coding

MAX_SHOWN = 40
"""Maximum number of characters of the client's that an error quotes."""

_OTHER_PROTOCOLS = (
    (b"\x16\x03", "a TLS handshake, but this port speaks HTTP without TLS; use http://"),
    (b"PRI * HTTP/2", "the preface of HTTP/2, which is not supported; use HTTP/1.1"),
    (b"PROXY ", "the PROXY protocol, which is not supported; send X-Forwarded-For instead"),
    (
        b"\0\r\nQUIT\n",
        "the PROXY protocol (version 2), which is not supported; send X-Forwarded-For instead",
    ),
    (b"SSH-", "the SSH protocol"),
)
"""First bytes of other protocols, and their names. The parser stops within the first of them."""


class HeadBytes:
    """The bytes as received in which a head is being read, for what the parser does not tell.

    Attributes:
        data: The bytes, from the segment on in which the head started; empty between heads.
        is_at_start: True if no other request ends in them.
    """

    __slots__ = ("data", "is_at_start")

    def __init__(self) -> None:
        self.data = b""
        self.is_at_start = False

    def add(self, data: bytes, *, is_open: bool, is_at_start: bool) -> None:
        """Take a segment before the parser gets it.

        Args:
            data: The segment.
            is_open: True if it continues a head.
            is_at_start: True if a request starts with it.
        """
        if is_open:
            self.data += data
        else:
            self.data = data
            self.is_at_start = is_at_start

    def check_line(self, method: bytes, target: bytes, version: str) -> None:
        """Refuse a request line that is not plain HTTP, when the head is complete.

        Raises:
            BadRequest: It is not.
        """
        if not is_plain_line(self.data, method, target, version):
            problem = line_problem(self.data, target, version)
            if problem is not None:
                raise BadRequest(400, problem)

    def after_error(self, error: str) -> bytes:
        """Return the bytes that a new parser must read after the first has failed on them.

        Args:
            error: Why the parser stopped.

        Raises:
            BadRequest: The parser is right.
        """
        head = self.data.lstrip(b"\r\n") if self.is_at_start else b""
        plain = with_plain_coding(head)
        if len(plain) < len(head):
            return plain
        seen = other_protocol(head)
        reason = error if seen is None else f"this is {seen}"
        raise BadRequest(400, f"not a valid HTTP request: {reason}")


def is_plain_line(head: bytes, method: bytes, target: bytes, version: str) -> bool:
    """Return True if a request line has exactly this form: one space each, and HTTP.

    Args:
        head: Bytes that contain the line, and possibly others around it.
        method: Method in the line, according to the parser.
        target: Target in the line.
        version: Version in the line, such as `1.1`.
    """
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    return head.startswith(line) or line in head


def line_problem(head: bytes, target: bytes, version: str) -> str | None:
    """Return why a request line that is not plain is refused; None if its version says it.

    Args:
        head: Bytes that contain the line, and possibly others around it.
        target: Target in the line.
        version: Version in the line.
    """
    if version == "0.9":
        return None  # a line without a version
    at = max(0, head.find(b" " + target + b" "))
    line = head[head.rfind(b"\n", 0, at) + 1 :].partition(b"\r\n")[0]
    protocol = line.rpartition(b" ")[2]
    is_found = protocol.endswith(b"/" + version.encode())
    if is_found and not protocol.startswith(b"HTTP/"):
        return f"the protocol is {printable_bytes(protocol, MAX_SHOWN)}; use HTTP/1.1"
    if is_found and b"  " in line:
        return "the request line has several spaces in a row"
    return "the request line is not a method, a target and HTTP/1.1, with one space between them"


def other_protocol(data: bytes) -> str | None:
    """Return the name of the protocol that a client speaks instead of HTTP/1, or None.

    Args:
        data: First bytes of the connection, at least one. They may be less than a name needs.
    """
    start = data.lstrip(b"\r\n")
    for first, name in _OTHER_PROTOCOLS:
        if start and start[: len(first)] == first[: len(start)]:
            return name
    return None
