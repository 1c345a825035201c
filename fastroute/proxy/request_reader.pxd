cimport cython

from fastroute.rules.head_match cimport HeadMatcher, MatchedHead
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
    cdef public HeadMatcher _known
    cdef public object _parser
    cdef public Py_ssize_t _unproductive

    @cython.locals(match=MatchedHead)
    cpdef MatchedHead known_request(self, bytes data, config)
    cpdef feed(self, bytes data, config)
