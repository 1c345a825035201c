cimport cython
from fastroute.proxy cimport clock
from fastroute.proxy.context cimport WorkerContext
from fastroute.proxy.reply cimport Reply
from fastroute.proxy.server cimport Server
from fastroute.proxy.upstream cimport ReplySink
from fastroute.proxy.upstream cimport UpstreamConnection
from fastroute.rules.message cimport ReplyHead
from fastroute.rules.message cimport RequestHead
cdef object REUSABLE
cdef object SPENT
cdef frozenset OUR_LIMITS
cdef class Attempt(ReplySink)


cdef class AttemptSink:
    cdef public bint paused
    cdef public RequestHead request
    cdef public object write
    cpdef object send_request(self, Attempt attempt, UpstreamConnection upstream)
    cpdef object begin_response(self, Reply reply, bytes head, bytes body)
    cpdef object release_response(self, Reply reply)
    cpdef object end_response(self, Reply reply)
    cpdef object end_attempt(self, object outcome, str reason)
cdef class Attempt(ReplySink):
    cdef public object _connecting
    cdef public WorkerContext _context
    cdef public AttemptSink _sink
    cdef public double first_byte
    cdef public double heard_at
    cdef public Reply reply
    cdef public Server server
    cdef public double started_at
    cdef public UpstreamConnection upstream
    cpdef object begin(self, WorkerContext context, AttemptSink sink, Server server, UpstreamConnection upstream)
    cpdef object connect(self)
    cpdef object drop(self)
    cpdef object sweep(self, double now)
    cpdef object phase(self)
    cpdef bint is_passed_on(self)
    cpdef object reply_informs(self, ReplyHead head, bytes raw)
    cpdef object reply_begins(self, ReplyHead head, bytes raw, bytes first_body)
    cpdef object reply_bytes(self, bytes data)
    cpdef object reply_ends(self, object end, str reason)
