cimport cython

from fastroute.proxy cimport clock
from fastroute.rules.head_match cimport HeadMatcher, MatchedHead
from fastroute.rules.message cimport ReplyHead

cdef object IDLE, AWAITING_HEAD, READING_HEAD, READING_BODY, CLOSED
cdef object CHUNKED, LENGTH, NONE, UNTIL_CLOSE
cdef object REUSABLE, SPENT
cdef Py_ssize_t _TAIL_BYTES, _JOIN_BYTES


cdef class ReplySink:
    cdef public bytes method

    cpdef reply_informs(self, ReplyHead head, bytes raw)
    cpdef reply_begins(self, ReplyHead head, bytes raw, bytes first_body)
    cpdef reply_bytes(self, bytes data)
    cpdef reply_ends(self, object end, str reason)


cdef class UpstreamConnection:
    cdef public object transport
    cdef public bint reused
    cdef public double idle_since
    cdef public double first_byte_at
    cdef public object _owner
    cdef public Py_ssize_t _max_head_bytes
    cdef public object _parser
    cdef public object _state
    cdef public ReplySink _sink
    cdef public bytes _head_bytes
    cdef public list _fields
    cdef public bint _head_read
    cdef public object _body
    cdef public Py_ssize_t _body_left
    cdef public bint _keep_alive
    cdef public bint _complete
    cdef public bint _surplus
    cdef public object _end
    cdef public bint _eof
    cdef public bytes _tail

    cpdef bint is_idle(self)
    cpdef send(self, ReplySink sink, bytes head, body)
    cpdef cancel(self)
    @cython.locals(body=bytes, sink=ReplySink)
    cpdef data_received(self, bytes data)
    cdef _read_head(self, bytes data)
    cdef ReplyHead _parse_head(self, bytes raw)
    cdef _remember(self, bytes data, ReplyHead head)
    @cython.locals(known=HeadMatcher, match=MatchedHead, sink=ReplySink)
    cdef bint _read_known_head(self, bytes data) except -1
    cdef _start_reply(self)
    cdef _start_body(self, ReplyHead head, bytes raw, bytes data)
    cdef bytes _read_body(self, bytes data)
    cdef bytes _end_chunked(self, bytes data)
    cdef _set_end(self, Py_ssize_t surplus)
    cdef _finish(self)
    cdef _fail(self, object end, str reason)
    cdef _close(self)
