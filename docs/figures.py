"""Draw the figures of the README and the docs again: `uv run python docs/figures.py`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bayesgmm import BayesianGaussianMixture, GaussianMixture, plot_clusters, style
from bayesgmm.datasets import load_old_faithful

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Old Faithful: data, EM and posterior ellipses, uncertainty of assignment; regression."""
    X = load_old_faithful()
    em = GaussianMixture(2, random_state=1).fit(X)
    bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    IMAGES.mkdir(exist_ok=True)
    plot_clusters(bayes, X, em=em.mixture_).savefig(IMAGES / "old_faithful.png", dpi=110)
    regression(bayes, X).savefig(IMAGES / "regression.png", dpi=110)


def regression(bayes: BayesianGaussianMixture, X: pd.DataFrame) -> Figure:
    """The wait for the next eruption given the length of the last, with the bands of the curve and of a new row."""
    grid = pd.DataFrame({"eruptions": np.linspace(1.5, 5.2, 200)})
    found = bayes.predict_features(grid, target="waiting").sel(feature="waiting")
    with style.context():
        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        ax = figure.subplots()
        ax.scatter(X["eruptions"], X["waiting"], s=8, color=style.DATA, linewidth=0, label="rows")
        for name, label, alpha in (("new_row", "89% band of a new row", 0.2), ("curve", "89% band of the curve", 0.5)):
            look = {"color": style.POSTERIOR, "alpha": alpha, "linewidth": 0}
            ax.fill_between(grid["eruptions"], *found[name].T, label=label, **look)
        ax.plot(grid["eruptions"], found["mean"], color=style.POSTERIOR, label="posterior mean")
        ax.set(xlabel="eruptions (min)", ylabel="waiting (min)")
        ax.legend(loc="upper left")
    return figure


if __name__ == "__main__":
    main()
