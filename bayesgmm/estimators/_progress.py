"""Progress messages of `verbose` fits."""

from bayesgmm.em import EMState, StartCallback


def progress_of_starts(verbose: int, interval: int) -> StartCallback | None:
    """A callback that shows how starts go, or None."""
    if not verbose:
        return None
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
