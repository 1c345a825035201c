cimport cython

from fastroute.rules cimport byte_search

cdef unsigned char _QUOTE, _BACKSLASH, _COLON, _SPACE, _TAB, _LINE_FEED, _RETURN
cdef unsigned char _OPENING_OBJECT, _OPENING_LIST, _CLOSING_OBJECT, _CLOSING_LIST


@cython.locals(
    end=Py_ssize_t,
    at=Py_ssize_t,
    start=Py_ssize_t,
    depth=Py_ssize_t,
    byte="unsigned char",
)
cpdef tuple string_span(bytes text, bytes key, long long max_steps)


cdef Py_ssize_t _depth_change(unsigned char byte) noexcept


@cython.locals(end=Py_ssize_t, byte="unsigned char")
cdef Py_ssize_t _next(bytes text, Py_ssize_t at) noexcept


@cython.locals(end=Py_ssize_t, at=Py_ssize_t, before=Py_ssize_t)
cdef Py_ssize_t _string_end(bytes text, Py_ssize_t start) noexcept


@cython.locals(colon=Py_ssize_t)
cdef bint _is_key(bytes text, Py_ssize_t start, Py_ssize_t stop, bytes key) except -1
