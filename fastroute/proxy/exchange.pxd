cimport cython
from fastroute.proxy cimport clock
from fastroute.proxy.attempt cimport Attempt
from fastroute.proxy.attempt cimport AttemptSink
from fastroute.proxy.context cimport WorkerContext
from fastroute.proxy.reply cimport Reply
from fastroute.proxy.router cimport ModelServers
from fastroute.proxy.server cimport Server
from fastroute.proxy.upstream cimport UpstreamConnection
from fastroute.rules.message cimport RequestHead
cdef object ANSWERED
cdef object TRIAL
cdef object UNTIL_CLOSE
cdef dict ENDINGS
cdef Py_ssize_t UNCLEAR
cdef class Client:
    cdef public bytes address
    cdef public object write
    cpdef object exchange_done(self, bint keep_alive)
    cpdef object exchange_refused(self, object outcome, str message)
    cpdef object exchange_broken(self, bint reset)
cdef class Exchange(AttemptSink):
    cdef public Attempt _attempt
    cdef public object _body
    cdef public Client _client
    cdef public WorkerContext _context
    cdef public ModelServers _group
    cdef public bytes _request_id
    cdef public Py_ssize_t _retries_left
    cdef public double _started_at
    cdef public list _tried
    cdef public object trace
    cpdef object start(self)
    cpdef object pause_reply(self)
    cpdef object resume_reply(self)
    cpdef object cancel(self)
    cpdef object cut(self)
    cpdef object sweep(self, double now)
    cpdef object send_request(self, Attempt attempt, UpstreamConnection upstream)
    cpdef object begin_response(self, Reply reply, bytes head, bytes body)
    cpdef object release_response(self, Reply reply)
    cpdef object end_response(self, Reply reply)
    cpdef object end_attempt(self, object outcome, str reason)
    cdef object _ask(self, Server server)
    cdef bint _may_hold(self, Reply reply)
    cdef object _pass_on(self, Reply reply, bytes head, bytes body, Py_ssize_t events)
    @cython.locals(other='Server')
    cdef bint _retry(self, object outcome, str reason)
    cdef Server _choose_other(self, Server server)
    cdef Server _choose(self)
    cdef object _observe(self, Attempt attempt, object outcome, str reason)
    cdef object _end(self, object outcome, str reason=*)
    cdef object _fail(self, object outcome, str reason, Reply reply)
