import asyncio

from fastroute.ipc.messages import Drained, MessageReader, Ready
from fastroute.proxy.supervisor_link import SupervisorLink


class Transport(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return len(self.written)


def test_sends_while_there_is_a_channel():
    link, transport = SupervisorLink(), Transport()
    link.report(Drained())
    assert link.backlog() == 0
    link.attach(transport)
    link.report(Ready())
    assert MessageReader().feed(transport.written) == [Ready()]
    assert link.backlog() == len(transport.written) > 0
    link.attach(None)
    link.report(Drained())
    assert link.backlog() == 0
    assert MessageReader().feed(transport.written) == [Ready()]
