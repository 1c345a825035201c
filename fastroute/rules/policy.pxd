cimport cython


cdef class Candidate:
    cdef public Py_ssize_t row
    cdef public double capacity


cdef class Loads:
    cdef public list foreign_milli
    cdef public list in_flight


# Policies without a place here are Python classes; only these must be fast.
cdef class Policy:
    cpdef choose(self, candidates, Loads loads, rng)
    @cython.locals(own=Py_ssize_t, foreign=Py_ssize_t)
    cpdef double cost(self, Candidate candidate, Loads loads) except? -1


cdef class LowestCost(Policy):
    @cython.locals(
        candidate=Candidate,
        lowest=double,
        cost=double,
        equals=Py_ssize_t,
        passed_over=Py_ssize_t,
    )
    cpdef choose(self, candidates, Loads loads, rng)


cdef class Load(LowestCost):
    pass


cdef class LeastInflight(LowestCost):
    @cython.locals(own=Py_ssize_t)
    cpdef double cost(self, Candidate candidate, Loads loads) except? -1
