"""A fixed piece of work that has nothing of ours: how fast this machine and this Python are."""

from collections import OrderedDict


class Cell:
    """Attributes, a method, and a dictionary: what the interpreter does all day."""

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
