"""The event loops that tests run on."""

import asyncio
import warnings

import uvloop


class ClosingLoop(uvloop.Loop):
    """The product's event loop, with a close() that returns even if warnings are errors.

    uvloop warns about each open handle just before closing it, in a callback that cannot raise. If
    the warning is an error, the handle is not closed, and uvloop waits for it forever, in C, where
    a test's time limit has no effect.
    """

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as unclosed:
            warnings.simplefilter("always")
            super().close()
        for each in unclosed:
            warnings.warn(each.message, stacklevel=2)


ON_BOTH = {"asyncio": asyncio.new_event_loop, "uvloop": ClosingLoop}
"""Return both loops, for code that runs on asyncio's own loop and must also work on uvloop."""
