"""Progress bars with an estimate of the remaining time, shown only in terminals and notebooks."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

type Move = Callable[[int, int], None]

_SECONDS_BETWEEN = 0.1  # updates of a bar in a notebook
PATIENCE = 2.0  # seconds of work without a bar
_one_bar = threading.Lock()


def is_watched() -> bool:
    """Whether somebody sees what is written: in a terminal or a notebook."""
    if any(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr)):
        return True
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return hasattr(get_ipython() if get_ipython else None, "kernel")


@contextmanager
def progress_bar(
    description: str, *, show: bool, percent: bool = False, patience: float = 0.0
) -> Iterator[Move | None]:
    """A callback ``(done, total)`` that moves a bar in a terminal or notebook; None elsewhere.

    ``percent`` shows percentages rather than counts. With ``patience``, work that takes fewer seconds shows no bar, and
    the bar of longer work, which need not say how far it is, disappears at the end. Work within work that has a bar
    shows none.
    """
    may_be_shown = show and (is_watched() or bool(os.environ.get("FORCE_COLOR")))  # rich obeys this variable
    if not (may_be_shown and _one_bar.acquire(blocking=False)):
        yield None
        return
    bar = _Bar(description, percent=percent, patience=patience)
    timer = threading.Timer(patience, bar.open)
    timer.daemon = True
    try:
        if patience > 0:
            timer.start()
        else:
            bar.open()
        yield bar.move
    finally:
        timer.cancel()
        bar.close()
        _one_bar.release()


class _Bar:
    """A bar that may open while work is in progress, in another thread."""

    def __init__(self, description: str, *, percent: bool, patience: float) -> None:
        self.description, self.percent, self.transient = description, percent, patience > 0
        self.due = time.monotonic() + patience
        self.lock, self.stack, self.closed = threading.Lock(), ExitStack(), False
        self.own: Move | None = None

    def open(self) -> None:
        from rich.console import Console

        with self.lock:
            console = Console(stderr=True)
            if self.closed or self.own is not None or not (console.is_jupyter or console.is_terminal):
                return
            if console.is_jupyter:
                bar = _notebook_bar(self.description, percent=self.percent)
            else:
                bar = _terminal_bar(self.description, console, percent=self.percent, transient=self.transient)
            self.own = self.stack.enter_context(bar)

    def move(self, done: int, total: int) -> None:
        if self.own is None and time.monotonic() >= self.due:
            self.open()
        own = self.own
        if own is not None:
            own(done, total)

    def close(self) -> None:
        with self.lock:
            self.closed, self.own = True, None
            self.stack.close()


@contextmanager
def _terminal_bar(description: str, console: "Console", *, percent: bool, transient: bool) -> Iterator[Move]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    done_so_far = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done_so_far, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=transient) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _notebook_bar(description: str, *, percent: bool) -> Iterator[Move | None]:
    """A bar in a notebook that disappears at the end: rich's would need ipywidgets, and warn without them."""
    display = getattr(sys.modules.get("IPython.display"), "display", None)  # imported in any notebook
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
