"""Progress: bars, silent unless somebody watches, and lines of `verbose` fits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bayesgmm.algorithms.em import EMState
from bayesgmm.algorithms.multistart import StartCallback


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
    if not (console.is_terminal or console.is_jupyter):
        yield None
        return
    done_so_far = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done_so_far, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


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
