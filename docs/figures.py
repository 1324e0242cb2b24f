"""Draw the figures of the README and the docs again: `uv run python docs/figures.py`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from bayesgmm import BayesianGaussianMixture, GaussianMixture, plot_clusters, style
from bayesgmm.datasets import load_old_faithful
from bayesgmm.mixture import FAMILIES

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Old Faithful: data, EM and posterior ellipses, uncertainty of assignment; regression; covariance families."""
    X = load_old_faithful()
    em = GaussianMixture(2, random_state=1).fit(X)
    bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    IMAGES.mkdir(exist_ok=True)
    plot_clusters(bayes, X, em=em.mixture_).savefig(IMAGES / "old_faithful.png", dpi=110)
    regression(bayes, X).savefig(IMAGES / "regression.png", dpi=110)
    families().savefig(IMAGES / "families.png", dpi=110)


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


def families() -> Figure:
    """Three clusters of each of the fourteen families: a row for orientations, a column for volumes and shapes."""
    volumes = {"E": (1.0, 1.0, 1.0), "V": (0.5, 1.0, 1.6)}
    ratios = {"I": (1.0, 1.0, 1.0), "E": (2.2, 2.2, 2.2), "V": (1.3, 2.2, 0.3)}  # of the axes, the area is the volume
    angles = {"I": (0.0, 0.0, 0.0), "E": (30.0, 30.0, 30.0), "V": (30.0, 100.0, 160.0)}
    names = {f.code: f"{f.code}, {f.name}" for f in FAMILIES.values() if f.name != f.code}
    columns = ("EE", "VE", "EV", "VV")
    codes = ["EII", "VII", *(pair + orientation for orientation in "IEV" for pair in columns)]
    with style.context():
        figure = Figure(figsize=(7.0, 5.6), layout="constrained")
        panels = figure.subplots(4, 4)
        for ax in panels[0, 2:]:
            ax.set_axis_off()
        for ax, code in zip([*panels[0, :2], *panels[1:].ravel()], codes, strict=True):
            of_cluster = zip(
                volumes[code[0]], ratios[code[1]], angles[code[2]], ((0, 0), (2.6, 0.4), (1.1, 2)), strict=True
            )
            for k, (volume, ratio, angle, centre) in enumerate(of_cluster):
                width, height = 1.2 * np.sqrt(volume * np.array([ratio, 1.0 / ratio]))
                look = {"facecolor": (style.CLUSTERS[k], 0.25), "edgecolor": style.CLUSTERS[k]}
                ax.add_patch(Ellipse(centre, width, height, angle=angle, linewidth=1.5, **look))
            ax.set(
                xlim=(-1.5, 4.1), ylim=(-1.2, 3.4), aspect="equal", xticks=[], yticks=[], title=names.get(code, code)
            )
    return figure


if __name__ == "__main__":
    main()
