cimport cython

from fastroute.rules.json_object cimport string_span

cdef bint _IS_COMPILED
cdef bytes _KEY
cdef long long _MAX_STEPS


cpdef str requested_model(bytes target, bytes content_type, body)


@cython.locals(start=Py_ssize_t, stop=Py_ssize_t, written=bytes)
cpdef str scanned_model(bytes body)


cdef bint _is_form(bytes content_type) except -1
