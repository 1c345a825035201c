"""A ticker of microsecond precision: the timers of the event loop are whole milliseconds."""

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Callable

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_NANOSECONDS = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _timespec(seconds: float) -> _Timespec:
    return _Timespec(*divmod(round(seconds * _NANOSECONDS), _NANOSECONDS))


class Ticker:
    """Calls `due(n)` in the running loop when n more ticks have passed, until closed.

    A timerfd, by ctypes, since os.timerfd_create came with Python 3.13 only. The k-th tick (from 0)
    is due at `started + k * period` on the monotonic clock.
    """

    def __init__(self, period: float, due: Callable[[int], None]) -> None:
        self._due = due
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self.started = time.monotonic() + period
        absolute = 1
        spec = _Itimerspec(_timespec(period), _timespec(self.started))
        if libc.timerfd_settime(self._fd, absolute, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        self._due(struct.unpack("Q", os.read(self._fd, 8))[0])

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
