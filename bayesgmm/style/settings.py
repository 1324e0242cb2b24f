"""Matplotlib's settings for figures of this package."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style

_SHEET = "bayesgmm.style"  # the file style.mplstyle of the package, which matplotlib finds by this name


def use() -> None:
    """Draw all figures from now on in this style: ``matplotlib.style.use("bayesgmm.style")``.

    Labels have 8 points or more in figures of up to 7.4 inches, the width of a page. The figures that this package
    makes have this style anyway; what it draws on axes of yours has your style.

    Examples
    --------
    >>> import matplotlib
    >>> from bayesgmm import style
    >>> with matplotlib.rc_context():
    ...     style.use()
    ...     colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    >>> colours == list(style.CLUSTERS)
    True
    """
    matplotlib.style.use(_SHEET)


@contextmanager
def context() -> Iterator[None]:
    """Draw figures in this style inside of a ``with`` block: ``matplotlib.style.context("bayesgmm.style")``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from bayesgmm import style
    >>> with style.context():
    ...     figure, ax = plt.subplots()
    >>> ax.spines["top"].get_visible()
    False
    """
    with matplotlib.style.context(_SHEET):
        yield
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)  # a notebook's backend sets it when it starts, at the first figure
