"""A resolver whose answers the test gives."""

import asyncio
from collections import Counter


class Names:
    """Answers look-ups, or lets them hang.

    Attributes:
        answers: By name: addresses, or what is raised; a name that is missing has none.
        asked: How often each was asked for.
    """

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, object] = answers
        self.asked: Counter[str] = Counter()
        self._free = asyncio.Event()
        self._free.set()

    def hang(self) -> None:
        self._free.clear()

    def go_on(self) -> None:
        self._free.set()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked[name] += 1
        await self._free.wait()
        answer = self.answers.get(name, ())
        if isinstance(answer, Exception):
            raise answer
        return answer
