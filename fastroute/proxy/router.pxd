from fastroute.proxy.server cimport Server
from fastroute.rules.model_name cimport requested_model
from fastroute.rules.policy cimport Loads, Policy


cdef class ModelServers:
    cdef public tuple up
    cdef public tuple on_trial
    cdef public tuple cooling
    cdef public Py_ssize_t slot
    cdef public str name
    cdef public long long states_version
    cdef public tuple servers


cdef class Router:
    cdef public tuple servers
    cdef public dict _aliases
    cdef public ModelServers _all
    cdef public dict _groups
    cdef public Loads _loads
    cdef public object _loop
    cdef public tuple _names
    cdef public bint _names_matter
    cdef public Policy _policy
    cdef public object _resolver
    cdef public object _rng
    cdef public object _foreign
    cdef public list _in_flight
    cdef public long long _states_seen
    cdef public long long[::1] _states_version
    cdef public object _table
    cdef public object _tls
    cdef public ModelServers _unlisted

    cpdef tuple find(self, bytes target, bytes content_type, body)
    cdef object _candidates(self, ModelServers group, tried, list in_flight)
    cdef Loads _loads_now(self)
    cpdef Server choose(self, ModelServers group, tried)
