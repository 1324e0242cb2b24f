"""Threads of BLAS."""

import scipy.linalg
from threadpoolctl import threadpool_info

from bayesgmm._common.threads import in_threads, one_blas_thread


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_uses_one_thread_inside_and_as_many_as_before_after():
    scipy.linalg.inv([[1.0]])
    before = blas_threads()
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == before
    assert in_threads(lambda item, stop: blas_threads(), [0], n_workers=1) == [{1}]
