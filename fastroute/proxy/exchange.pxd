cimport cython

from fastroute.proxy cimport clock
from fastroute.proxy.server cimport Server
from fastroute.proxy.router cimport ModelServers
from fastroute.proxy.upstream cimport ReplySink, UpstreamConnection
from fastroute.proxy.context cimport WorkerContext
from fastroute.rules.message cimport ReplyHead, RequestHead

cdef object CONNECTING, WAITING, REPLYING
cdef object FINE, BUSY, UNCLEAR
cdef object CHUNKED, UNTIL_CLOSE, TRIAL, REUSABLE, SPENT
cdef tuple FIRST_BYTE_BOUNDS, DURATION_BOUNDS
cdef Py_ssize_t IN_FLIGHT, STARTED, FINISHED_2XX, FAILED, ABORTED
cdef Py_ssize_t RETRIES, RETRIES_CONNECT, RETRIES_RESET, RETRIES_BUSY, RETRIES_FAILED
cdef Py_ssize_t ABORTS_WAITING, ABORTS_REPLYING, CONNECTIONS_NEW
cdef Py_ssize_t CONNECTIONS_REUSED, BYTES_IN, BYTES_OUT, EVENTS
cdef Py_ssize_t FIRST_BYTE, FIRST_BYTE_SUM, DURATION, DURATION_SUM


cdef class Client:
    cdef public bytes address
    cdef public object write

    cpdef exchange_done(self, bint keep_alive)
    cpdef exchange_refused(self, int status, str message)
    cpdef exchange_broken(self, bint reset)


cdef class Exchange(ReplySink):
    cdef public WorkerContext _worker
    cdef public Client _client
    cdef public object _write
    cdef public RequestHead _head
    cdef public object _body
    cdef public ModelServers _group
    cdef public bytes _request_id
    cdef public Py_ssize_t _retries_left
    cdef public list _tried
    cdef public double _started_at
    cdef public bint _sent
    cdef public object trace
    cdef public bint _paused
    cdef public Server _server
    cdef public UpstreamConnection _upstream
    cdef public object _connecting
    cdef public object _phase
    cdef public bint _reused
    cdef public double _attempt_at
    cdef public double _first_byte
    cdef public double _heard_at
    cdef public ReplyHead _reply
    cdef public object _reply_body
    cdef public object _verdict
    cdef public bint _stopping
    cdef public bint _keep_alive
    cdef public object _unwrapper
    cdef public list _held
    cdef public Py_ssize_t _held_bytes
    cdef public Py_ssize_t _bytes_out

    cpdef start(self)
    cpdef pause_reply(self)
    cpdef resume_reply(self)
    cpdef cancel(self)
    cpdef sweep(self, double now)
    cdef _attempt(self, Server server)
    cdef _send(self, UpstreamConnection upstream)
    cdef object _judge(self, int status)
    cdef bint _refused(self, Server server) except -1
    cdef Server _choose(self)
    cdef Server _another(self, Server server)
    cdef _finish(self, Server server)
    cdef _observe_reply(self, Server server, ReplyHead reply)
    cdef _failed(self, str reason, bint silent)
    cdef _give_up(self, str reason, bint silent)
    cdef _flush(self)
    cdef _note_first_byte(self)
    cdef _drop_upstream(self)
    cdef _release(self, Py_ssize_t outcome, bint ended)


@cython.locals(index=Py_ssize_t, bound=double)
cpdef Py_ssize_t bucket_of(tuple bounds, double value)


cpdef Py_ssize_t finished_column(int status)
