cimport cython


cdef class Candidate:
    cdef public Py_ssize_t row
    cdef public double capacity


@cython.locals(own=Py_ssize_t, foreign=Py_ssize_t)
cpdef double score(Candidate candidate, list foreign_milli, list in_flight) except? -1


@cython.locals(
    candidate=Candidate,
    best_score=double,
    its_score=double,
    equals=Py_ssize_t,
    passed_over=Py_ssize_t,
)
cpdef load(candidates, list foreign_milli, list in_flight, rng)
