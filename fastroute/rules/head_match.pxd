cimport cython

cdef Py_ssize_t _MAX_DIGITS
cdef unsigned char _ZERO, _NINE


cdef class MatchedHead:
    cdef public object head
    cdef public Py_ssize_t body_start
    cdef public Py_ssize_t body_length


cdef class HeadMatcher:
    cdef Py_ssize_t _limit
    cdef dict _any_length
    cdef dict _exact
    cdef MatchedHead _latest
    cdef bytes _before
    cdef bytes _after

    @cython.locals(match=MatchedHead)
    cpdef MatchedHead find(self, bytes data)
    @cython.locals(stop=Py_ssize_t, end=Py_ssize_t, length=Py_ssize_t)
    cdef MatchedHead _find_latest(self, bytes data, MatchedHead latest)
    cpdef remember(self, bytes data, object head, Py_ssize_t body_length)
    cdef _make_room(self, dict known)
