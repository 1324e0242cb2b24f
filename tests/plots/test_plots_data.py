"""Thinned draws for plots."""

import numpy as np
import xarray as xr

from bayesgmm.plots._data import thinned_tree
from bayesgmm.plots._style import thinned_rows


def test_a_pooled_posterior_is_thinned_without_exploratory_chains():
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"weights": (("chain", "draw"), np.zeros((2, 500)))}),
            "scouts_posterior": xr.Dataset({"weights": (("chain", "draw"), np.zeros((3, 150)))}),
            "constant_data": xr.Dataset({"em_weights": ("cluster", np.ones(2))}),
        }
    )
    thin = thinned_tree(tree, 100)
    assert thin["posterior"].sizes["draw"] == 50
    assert set(thin.children) == {"posterior", "constant_data"}


def test_rows_that_alternate_are_thinned_to_rows_of_both_kinds():
    X = np.tile([[0.0], [1.0]], (10_001, 1))
    some = thinned_rows(X)
    assert len(some) == 4_001
    assert 0.45 < some.mean() < 0.55
    np.testing.assert_array_equal(thinned_rows(X), some)
    order = thinned_rows(np.arange(20_002.0)[:, None])
    assert (np.diff(order[:, 0]) > 0).all()
