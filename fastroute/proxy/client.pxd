cimport cython

from fastroute.proxy.exchange cimport Client, Exchange
from fastroute.proxy.request_reader cimport Request, RequestReader
from fastroute.proxy.context cimport WorkerContext
from fastroute.rules.head_match cimport MatchedHead
from fastroute.rules.message cimport RequestHead

cdef object BETWEEN, HEAD, BODY, REFUSED
cdef double _NEVER
cdef bytes OWN_PREFIX


cdef class ClientConnection(Client):
    cdef public WorkerContext _worker
    cdef public object _listener
    cdef public object _endpoints
    cdef public bint _forwards
    cdef public RequestReader _reader
    cdef public bint _write_paused
    cdef public double _deadline
    cdef public Py_ssize_t _unsent
    cdef public bint _is_uncounted
    cdef public object _exchange
    cdef public RequestHead _head_in_hand
    cdef public bint _advancing
    cdef public object _transport

    @cython.locals(reader=RequestReader, match=MatchedHead)
    cpdef data_received(self, bytes data)
    cpdef sweep(self, double now)
    @cython.locals(request=Request)
    cdef _advance(self)
    cdef object _answer(self, RequestHead head)
    @cython.locals(exchange=Exchange)
    cdef _serve(self, RequestHead head, body)
    cdef _set_deadline(self)
