cimport cython

from fastroute.proxy.upstream cimport UpstreamConnection
from fastroute.rules.head_match cimport HeadMatcher
from fastroute.rules.policy cimport Candidate


cdef object FREE


cdef class Server(Candidate):
    cdef public bytes authority
    cdef public bytes authorization
    cdef public object generation
    cdef public HeadMatcher known_replies
    cdef public object models
    cdef public object state
    cdef public str url
    cdef public object _address
    cdef public object _discovered_from
    cdef public bint _is_ip
    cdef public object _resolver
    cdef public object _tls_name
    cdef public list _idle
    cdef public double _idle_timeout
    cdef public object _connects
    cdef public str _last_address
    cdef public double _tcp_timeout
    cdef public Py_ssize_t _max_head_bytes
    cdef public object _tls

    @cython.locals(upstream=UpstreamConnection)
    cpdef UpstreamConnection take_idle(self, double now)
    cpdef give_back(self, UpstreamConnection upstream, double now)
