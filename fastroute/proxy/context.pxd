from fastroute.proxy.ledger cimport Ledger
from fastroute.proxy.server cimport Server
from fastroute.proxy.router cimport Router
from fastroute.rules.head_match cimport HeadMatcher


cdef class WorkerContext:
    cdef public object _recorder
    cdef public object backlog
    cdef public object cells
    cdef public double client_idle_timeout
    cdef public object client_left
    cdef public Py_ssize_t max_retries
    cdef public set clients
    cdef public object config
    cdef public object configured
    cdef public bint draining
    cdef public set failing
    cdef public bint follows
    cdef public object health
    cdef public HeadMatcher known_requests
    cdef public Ledger ledger
    cdef public object loop
    cdef public object losses
    cdef public object reasons
    cdef public object recorder
    cdef public object report
    cdef public object retry_on
    cdef public Router router
    cdef public double stamp
    cdef public object table
    cdef public Py_ssize_t uncounted
    cdef public object unrouted
    cdef public bytes _request_block
    cdef public unsigned long long _request_ids
    cdef public bytes _request_prefix

    cpdef bytes new_request_id(self)
