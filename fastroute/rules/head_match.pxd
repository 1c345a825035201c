cimport cython

cdef Py_ssize_t _MAX_DIGITS
cdef unsigned char _ZERO, _NINE


cdef class Head:
    cdef public Py_ssize_t content_length


cdef class KnownHeads:
    cdef Py_ssize_t _limit
    cdef dict _any_length
    cdef dict _exact
    cdef Head _latest
    cdef bytes _before
    cdef bytes _after
    cdef public Py_ssize_t body_start
    cdef public Py_ssize_t body_length

    cpdef object find(self, bytes data)
    cdef Head _found(self, Py_ssize_t body_start, Py_ssize_t body_length)
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t, end=Py_ssize_t, length=Py_ssize_t)
    cdef bint _is_latest(self, bytes data) except -1
    cpdef remember(self, bytes data, Head head)
