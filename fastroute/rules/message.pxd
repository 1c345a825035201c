cdef class RequestHead:
    cdef readonly object body
    cdef readonly bytes content_type
    cdef readonly bint expects_continue
    cdef readonly bint http_1_0
    cdef readonly bint keep_alive
    cdef readonly bytes method
    cdef readonly bytes path
    cdef readonly bytes request_id
    cdef readonly bytes target
    cdef object _authorization
    cdef object _forwarded_for
    cdef object _forwarded_host
    cdef object _forwarded_proto
    cdef list _lines
    cdef dict _prefixes
    cdef object _via

    cpdef bint is_ordinary(self)
    cpdef bytes render(
        self,
        bytes authority,
        bytes authorization,
        bytes client,
        bytes request_id,
        Py_ssize_t body_length,
    )
    cdef bytes _render_prefix(self, bytes authority, bytes authorization, bytes client)


cdef class ReplyHead:
    cdef readonly object body
    cdef readonly bint is_event_stream
    cdef readonly bint keep_alive
    cdef readonly object retry_after
    cdef readonly int status
    cdef bint _coded
    cdef object _dropped
    cdef object _fields
    cdef object _location
    cdef bint _unbuffered
    cdef object _version

    cpdef bint is_ordinary(self)
    cpdef bint is_final(self)
    cpdef bytes render(
        self, bytes raw, bytes authority, bytes connection=*, bint unwrapped=*
    )
