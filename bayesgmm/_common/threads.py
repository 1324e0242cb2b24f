"""Cancellable thread map: an interruption keeps completed results."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

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
    with ThreadPoolExecutor(max(1, min(n_workers, len(items)))) as workers:
        futures = [workers.submit(task, item, stop) for item in items]
        try:
            for n_done, _ in enumerate(as_completed(futures), start=1):
                if callback is not None and not stop.is_set() and callback(n_done, len(items)):
                    stop.set()
        except KeyboardInterrupt:
            stop.set()
        except BaseException:
            stop.set()
            raise
        return [future.result() for future in futures]
