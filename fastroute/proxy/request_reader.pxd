cimport cython

from fastroute.rules.head_match cimport KnownHeads
from fastroute.rules.message cimport RequestHead


cdef class Request:
    cdef public object body
    cdef public bint continued
    cdef public list fields
    cdef public RequestHead head
    cdef public bytes method
    cdef public bytes target
    cdef public str version


cdef class RequestReader:
    cdef public object ready
    cdef public object refusal
    cdef public Request request
    cdef public object state
    cdef public list _fields
    cdef public KnownHeads _known
    cdef public object _parser
    cdef public Py_ssize_t _unproductive
    cdef public Py_ssize_t body_start

    @cython.locals(known=KnownHeads, head=RequestHead)
    cpdef RequestHead known_request(self, bytes data, config)
    cpdef feed(self, bytes data, config)
