cimport cython
cdef Py_ssize_t IN_FLIGHT
cdef Py_ssize_t STARTED
cdef Py_ssize_t CONNECTIONS_NEW
cdef Py_ssize_t CONNECTIONS_REUSED
cdef Py_ssize_t BYTES_IN
cdef Py_ssize_t BYTES_OUT
cdef Py_ssize_t FIRST_BYTE
cdef Py_ssize_t FIRST_BYTE_SUM
cdef Py_ssize_t DURATION
cdef Py_ssize_t DURATION_SUM
cdef Py_ssize_t FINISHED_2XX
cdef Py_ssize_t TO_MODEL
cdef dict COLUMNS
cdef tuple DURATION_BOUNDS
cdef tuple FIRST_BYTE_BOUNDS
cdef object MODEL_COUNTERS
cdef object WORKER_COLUMNS
cdef dict ENDINGS
cdef class Ledger:
    cdef public object _budget
    cdef public long long[:, ::1] _counts
    cdef public long long[:, ::1] _model_counts
    cdef public object cells
    cdef public long long[::1] events
    cdef public Py_ssize_t requests
    cdef public Py_ssize_t retries
    cpdef object start(self, Py_ssize_t row)
    cpdef object send(self, Py_ssize_t row, Py_ssize_t size, bint reused)
    cpdef object first_byte(self, Py_ssize_t row, double seconds)
    cpdef object retry(self, object outcome, Py_ssize_t row, Py_ssize_t status, Py_ssize_t next_row)
    cpdef object answer(self, Py_ssize_t row, Py_ssize_t slot, Py_ssize_t status, double seconds, Py_ssize_t bytes_out)
    cpdef object fail(self, object outcome, Py_ssize_t row, Py_ssize_t slot, Py_ssize_t bytes_out)
    cpdef object own(self, object outcome)
    cpdef bint allows_retry(self)
    cpdef object sample(self, double now)
    cpdef bint clear(self, Py_ssize_t row, Py_ssize_t generation)
    cdef object _release(self, Py_ssize_t row, Py_ssize_t column, Py_ssize_t bytes_out)
cpdef Py_ssize_t status_column(Py_ssize_t status)
@cython.locals(index='Py_ssize_t', bound='double')
cpdef Py_ssize_t bucket_of(tuple bounds, double value)
