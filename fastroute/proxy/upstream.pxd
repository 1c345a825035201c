cimport cython

from fastroute.proxy cimport clock
from fastroute.rules.message cimport ReplyHead
from fastroute.rules.response cimport ResponseFramer

cdef object IDLE, READING_HEAD, READING_BODY, CLOSED, REUSABLE, SPENT
cdef Py_ssize_t _JOIN_BYTES


cdef class ReplySink:
    cdef public bytes method

    cpdef reply_informs(self, ReplyHead head, bytes raw)
    cpdef reply_begins(self, ReplyHead head, bytes raw, bytes first_body)
    cpdef reply_bytes(self, bytes data)
    cpdef reply_ends(self, object end, str reason)


cdef class UpstreamConnection:
    cdef public object transport
    cdef public bint reused
    cdef public double first_byte_at
    cdef public double idle_since
    cdef public object _owner
    cdef public bint _eof
    cdef public ResponseFramer _framer
    cdef public ReplySink _sink
    cdef public object _state

    cpdef bint is_idle(self)
    cpdef send(self, ReplySink sink, bytes head, body)
    cpdef cancel(self)
    @cython.locals(framer=ResponseFramer, body=bytes)
    cpdef data_received(self, bytes data)
    @cython.locals(
        sink=ReplySink, framer=ResponseFramer, found=tuple, head=ReplyHead, raw=bytes, first_body=bytes
    )
    cdef _read_heads(self, bytes data)
    cdef _end_body(self, bytes body)
    @cython.locals(sink=ReplySink)
    cdef _end(self)
    cdef _close(self)
