"""Draw the figures of the README and the docs again: `uv run python docs/figures.py`."""

from pathlib import Path

from bayesgmm import BayesianGaussianMixture, GaussianMixture, plot_clusters
from bayesgmm.datasets import load_old_faithful

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Old Faithful: data, EM and posterior ellipses, uncertainty of assignment."""
    X = load_old_faithful()
    em = GaussianMixture(2, random_state=1).fit(X)
    bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    IMAGES.mkdir(exist_ok=True)
    plot_clusters(bayes, X, em=em.mixture_).savefig(IMAGES / "old_faithful.png", dpi=110)


if __name__ == "__main__":
    main()
