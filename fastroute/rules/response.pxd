cimport cython

from fastroute.rules.head_match cimport HeadMatcher, MatchedHead
from fastroute.rules.message cimport ReplyHead

cdef Py_ssize_t _TAIL_BYTES
cdef bytes _START
cdef object CHUNKED, LENGTH, NONE, UNTIL_CLOSE, REUSABLE, SPENT


cdef class ResponseFramer:
    cdef public object end
    cdef public str reason
    cdef bint _another
    cdef object _body
    cdef list _fields
    cdef Py_ssize_t _informational
    cdef bint _keep_alive
    cdef HeadMatcher _known
    cdef Py_ssize_t _left
    cdef Py_ssize_t _max_head_bytes
    cdef bytes _method
    cdef object _parser
    cdef bint _parser_is_idle
    cdef bytes _pending
    cdef bytes _tail

    cpdef start(self, bytes method)
    @cython.locals(match=MatchedHead, start=Py_ssize_t, stop=Py_ssize_t)
    cpdef tuple read_head(self, bytes data)
    cpdef bint passes(self, bytes data) except -1
    @cython.locals(surplus=Py_ssize_t)
    cpdef bytes end_body(self, bytes data)
    @cython.locals(head=ReplyHead, length=Py_ssize_t)
    cdef tuple _read_whole_head(self, bytes data, Py_ssize_t stop)
    cdef ReplyHead _parse(self, bytes raw)
    cdef tuple _start_body(self, ReplyHead head, Py_ssize_t length, bytes raw, bytes data)
    cdef Py_ssize_t _chunked_surplus(self, bytes data) except -1
    cdef _fail(self, object end, str reason)
