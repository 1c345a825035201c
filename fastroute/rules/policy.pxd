cimport cython


cdef class Candidate:
    cdef public Py_ssize_t row
    cdef public double capacity


@cython.locals(
    candidate=Candidate,
    row=Py_ssize_t,
    own=double,
    foreign=double,
    best_score=double,
    its_score=double,
    best=list,
)
cpdef load(candidates, list foreign_milli, list in_flight, rng)
