"""One fit and its report, made once for all tests of reports."""

import pytest

from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_old_faithful


@pytest.fixture(scope="session")
def fit() -> BayesianGaussianMixture:
    model = BayesianGaussianMixture(2, draws=1_000, tune=500, progress=False, random_state=1)
    return model.fit(load_old_faithful())


@pytest.fixture(scope="session")
def text(fit: BayesianGaussianMixture, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a posterior beside EM, with its checks."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    fit.report(path, title="Old Faithful")
    return path.read_text(encoding="utf-8")
