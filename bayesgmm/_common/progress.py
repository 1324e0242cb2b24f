"""Progress bars with an estimate of the remaining time, shown only in terminals and notebooks."""

import sys
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


@contextmanager
def progress_bar(
    description: str, *, show: bool, percent: bool = False, patience: float = 0.0
) -> Iterator[Move | None]:
    """A callback ``(done, total)`` that moves a bar in a terminal or notebook; None elsewhere.

    ``percent`` shows percentages rather than counts. With ``patience``, work that takes fewer seconds shows no bar, and
    the bar of longer work disappears at the end.
    """
    if not show:
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_jupyter or console.is_terminal):
        yield None
        return
    with ExitStack() as stack:
        began, bar = time.monotonic(), None

        def open_bar() -> Move | None:
            if console.is_jupyter:
                return stack.enter_context(_notebook_bar(description, percent=percent))
            return stack.enter_context(_terminal_bar(description, console, percent=percent, transient=patience > 0))

        def move(done: int, total: int) -> None:
            nonlocal bar
            if bar is None and time.monotonic() - began >= patience:
                bar = open_bar()
            if bar is not None:
                bar(done, total)

        if patience == 0:
            bar = open_bar()
        yield move


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
