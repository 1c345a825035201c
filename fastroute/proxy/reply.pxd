cimport cython
from fastroute.rules.message cimport ReplyHead
from fastroute.rules.message cimport RequestHead
cdef object CHUNKED
cdef object UNTIL_CLOSE
cdef object ANSWERED
cdef class Reply:
    cdef public Py_ssize_t _held_bytes
    cdef public object body
    cdef public Py_ssize_t bytes_out
    cdef public ReplyHead head
    cdef public list held
    cdef public bint keep_alive
    cdef public object outcome
    cdef public object unwrapper
    cpdef bytes begin(self, ReplyHead head, bytes raw, bytes authority, RequestHead request, bint draining)
    cpdef bint hold(self, bytes data)
