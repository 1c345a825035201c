"""The event loops that tests run on."""

import asyncio
import warnings

import uvloop


class ClosingLoop(uvloop.Loop):
    """The loop that ships, whose close() ends also where warnings are errors.

    uvloop warns of each handle that it finds open, just before it closes the handle, in a callback
    that cannot raise. As an error that warning keeps it from closing the handle, for which it then
    waits for ever, in C, where no time limit of a test reaches it.
    """

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as unclosed:
            warnings.simplefilter("always")
            super().close()
        for each in unclosed:
            warnings.warn(each.message, stacklevel=2)


ON_BOTH = {"asyncio": asyncio.new_event_loop, "uvloop": ClosingLoop}
"""For what runs on asyncio's own loop, and must behave alike on the other."""
