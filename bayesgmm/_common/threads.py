"""Threads: a cancellable map, where an interruption keeps completed results, and BLAS with one thread."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

type Progress = Callable[[int, int], object]


def in_threads[Item, Result](
    task: Callable[[Item, threading.Event], Result],
    items: Sequence[Item],
    *,
    n_workers: int,
    callback: Progress | None = None,
) -> list[Result]:
    """Results of ``task(item, stop)`` for all items, in their order.

    Ctrl-C, or a true return value of ``callback(done, total)``, sets ``stop``; a task should then return at once,
    with a result that says so. An error in a task sets it too, and is raised when the others have ended.

    Examples
    --------
    >>> from bayesgmm._common import in_threads
    >>> in_threads(lambda item, stop: None if stop.is_set() else item**2, [1, 2, 3], n_workers=2)
    [1, 4, 9]
    """
    stop = threading.Event()
    with one_blas_thread(), ThreadPoolExecutor(max(1, min(n_workers, len(items)))) as workers:
        futures: list[Future[Result]] = []
        try:
            futures.extend(workers.submit(task, item, stop) for item in items)
            for n_done, _ in enumerate(as_completed(futures), start=1):
                if callback is not None and not stop.is_set() and callback(n_done, len(items)):
                    stop.set()
        except KeyboardInterrupt:
            stop.set()
        except BaseException:
            stop.set()
            raise
        futures.extend(workers.submit(task, item, stop) for item in items[len(futures) :])
        return [future.result() for future in futures]


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which BLAS and LAPACK use one thread.

    For matrices of a few dozen rows more threads wait for each other, on a busy machine hundreds of times as long as
    the work takes, and beside threads of our own they compete for the cores.
    """
    return _blas().limit(limits=1)


@cache
def _blas() -> Any:  # a ThreadpoolController; to find the libraries takes milliseconds
    import scipy.linalg  # noqa: F401  the library that compiled code calls
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
