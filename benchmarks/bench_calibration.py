"""A fixed workload without fastroute's code: the speed of this machine and this Python."""

from collections import OrderedDict


class Cell:
    """Use attributes, a method and a dictionary, the interpreter's typical work."""

    __slots__ = ("count", "names")

    def __init__(self) -> None:
        self.count = 0
        self.names: OrderedDict[bytes, int] = OrderedDict()

    def add(self, name: bytes) -> None:
        self.count += 1
        self.names[name] = self.names.get(name, 0) + 1


def work() -> int:
    cell = Cell()
    fields = b"host: a\r\ncontent-type: b\r\ncontent-length: 17\r\naccept: c".split(b"\r\n")
    for _ in range(50):
        for field in fields:
            name, _, _value = field.partition(b":")
            cell.add(name.lower())
    return cell.count


def test_calibration(benchmark):
    assert benchmark(work) == 200
