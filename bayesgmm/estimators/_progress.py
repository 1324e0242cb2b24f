"""Progress of EM's starts: messages of `verbose` fits, or a bar on long ones."""

from collections.abc import Iterator
from contextlib import contextmanager

from bayesgmm._common import PATIENCE, progress_bar
from bayesgmm.em import Effort, EMState, StartCallback


@contextmanager
def progress_of_starts(
    *, verbose: int, interval: int, n_init: int | None, effort: Effort, show: bool = True
) -> Iterator[StartCallback | None]:
    """A callback that shows how starts go; None where nobody watches."""
    if verbose:
        yield _printed(verbose, interval)
        return
    description, n_starts = ("EM starts", n_init) if n_init else ("EM starts, at most", effort.most_starts)
    with progress_bar(description, show=show, patience=PATIENCE) as move:
        yield None if move is None else lambda index, _state: move(index, n_starts)


def _printed(verbose: int, interval: int) -> StartCallback:
    from rich.console import Console

    console = Console(highlight=False)
    due: dict[int, int] = {}

    def show(index: int, state: EMState) -> None:
        if index not in due:
            console.print(f"Start {index}")
        elif verbose > 1 and state.iteration >= due[index]:
            console.print(f"Start {index}, step {state.iteration}: objective {state.objective:.6f}")
        else:
            return
        due[index] = state.iteration + interval

    return show
