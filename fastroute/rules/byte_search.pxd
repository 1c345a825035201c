# Written by hand: no annotation says that a function is inline and calls C.
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr


cdef inline Py_ssize_t find_byte(
    bytes text, unsigned char byte, Py_ssize_t start, Py_ssize_t stop
) noexcept:
    if start >= stop:
        return -1
    cdef const char* begin = PyBytes_AS_STRING(text)
    cdef const char* found = <const char*> memchr(begin + start, byte, stop - start)
    return -1 if found == NULL else found - begin
