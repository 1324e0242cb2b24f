"""Progress: bars, silent unless somebody watches, and lines of `verbose` fits."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

from bayesgmm.algorithms.em import EMState
from bayesgmm.algorithms.multistart import StartCallback

_SECONDS_BETWEEN = 0.1  # updates of a bar in a notebook


@contextmanager
def progress_bar(description: str, *, show: bool, percent: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """A callback ``(done, in all)`` that moves a bar in a terminal or notebook; None elsewhere.

    ``percent`` is for work that is not counted in things that users know.
    """
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if console.is_jupyter:
        with _notebook_bar(description, percent=percent) as moved:
            yield moved
        return
    if not console.is_terminal:
        yield None
        return
    done_so_far = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done_so_far, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


@contextmanager
def _notebook_bar(description: str, *, percent: bool) -> Iterator[Callable[[int, int], None] | None]:
    """The same in a notebook, gone at the end: rich's needs ipywidgets, and warns where there are none."""
    display = getattr(sys.modules.get("IPython.display"), "display", None)  # there, if anywhere, in a notebook
    if display is None:
        yield None
        return
    handle = display({"text/plain": description, "text/html": ""}, raw=True, display_id=True)
    shown_at = -_SECONDS_BETWEEN

    def move(done: int, total: int) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at < _SECONDS_BETWEEN:
            return
        shown_at = time.monotonic()
        share = f"{done / max(total, 1):.0%}" if percent else f"{done:,}/{total:,}"
        bar = f'{escape(description)} <progress value="{done}" max="{total}"></progress> {share}'
        handle.update({"text/plain": f"{description} {share}", "text/html": bar}, raw=True)

    try:
        yield move
    finally:
        handle.update({"text/plain": "", "text/html": ""}, raw=True)


def progress_of_starts(verbose: int, interval: int) -> StartCallback | None:
    """A callback that shows how starts go, or None."""
    if not verbose:
        return None
    from rich.console import Console

    console = Console(highlight=False)
    due: dict[int, int] = {}

    def show(index: int, state: EMState) -> None:
        if state.iteration == 0:
            console.print(f"Start {index}")
        elif verbose > 1 and state.iteration >= due[index]:
            console.print(f"Start {index}, step {state.iteration}: objective {state.objective:.6f}")
        else:
            return
        due[index] = state.iteration + interval

    return show
