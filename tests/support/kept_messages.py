"""A link to no supervisor."""

from fastroute.ipc.messages import Message, Records
from fastroute.ipc.request_record import RequestRecord
from fastroute.proxy.supervisor_link import SupervisorLink


class KeptMessages(SupervisorLink):
    """Keeps what a worker reports.

    Attributes:
        observed: All messages but those that follow, oldest first.
        records: Records of ended requests.
    """

    __slots__ = ("observed", "records")

    def __init__(self) -> None:
        super().__init__()
        self.observed: list[Message] = []
        self.records: list[RequestRecord] = []

    def report(self, message: Message) -> None:
        if isinstance(message, Records):
            self.records += message.records
        else:
            self.observed.append(message)
