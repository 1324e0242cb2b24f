"""Warnings point at the line of the user's code that led to them, however deep they arise."""

import warnings

import numpy as np
import pytest

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior, predict_features
from bayesgmm.datasets import load_old_faithful

FAITHFUL = load_old_faithful()
CONSTANT = np.column_stack([FAITHFUL, np.ones(len(FAITHFUL))])
FIT = GaussianMixture(2, random_state=0).fit(FAITHFUL)
FEW = {"draws": 20, "max_draws": 20, "tune": 20, "init": "best", "random_state": 0, "progress": False}
CASES = {
    "EM stopped early": lambda: GaussianMixture(2, max_iter=1, tol=1e-9, n_init=1, random_state=0).fit(FAITHFUL),
    "fit_predict": lambda: GaussianMixture(2, max_iter=1, tol=1e-9, n_init=1, random_state=0).fit_predict(FAITHFUL),
    "constant feature": lambda: GaussianMixture(2, n_init=2, random_state=0).fit(CONSTANT),
    "prior of a constant feature": lambda: Prior.weakly_informative(CONSTANT),
    "short chains": lambda: BayesianGaussianMixture(2, **FEW).fit(FAITHFUL),
    "far rows": lambda: predict_features(FIT, [[900.0]], target="eruptions"),
    "far rows, by method": lambda: FIT.predict_features([[900.0]], target="eruptions"),
}


@pytest.mark.parametrize("call", CASES.values(), ids=CASES)
def test_a_warning_names_the_file_that_called(call) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    ours = [each for each in caught if each.category.__module__.startswith(("bayesgmm", "sklearn"))]
    assert ours
    assert {each.filename for each in ours} == {__file__}
