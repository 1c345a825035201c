"""A server whose streams have an event every 20 ms, and which takes any body in no time.

python -m tests.support.steady_server    # prints its URL, and ends with its standard input
"""

import asyncio
import re
import sys

INTERVAL_S = 0.02
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STREAM_HEAD += b"Transfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'


class Steady(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport = transport
        self.head = b""
        self.left = 0
        self.timer = None

    def data_received(self, data):
        if self.left:
            taken = min(self.left, len(data))
            self.left -= taken
            data = data[taken:]
            if not self.left:
                self.answer()
        self.head += data
        while not self.left and b"\r\n\r\n" in self.head:
            self.request, _, self.head = self.head.partition(b"\r\n\r\n")
            length = LENGTH.search(self.request)
            self.left = int(length[1]) if length else 0
            taken = min(self.left, len(self.head))
            self.left -= taken
            self.head = self.head[taken:]
            if not self.left:
                self.answer()

    def answer(self):
        path = self.request.split()[1]
        if path == b"/stream":
            self.transport.write(STREAM_HEAD)
            self.tick()
            return
        body = MODELS if path == b"/v1/models" else b"{}"
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def tick(self):
        self.transport.write(EVENT)
        self.timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.tick)

    def connection_lost(self, exc):
        if self.timer is not None:
            self.timer.cancel()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Steady, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
