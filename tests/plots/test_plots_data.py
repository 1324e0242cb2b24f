"""Thinned draws for plots."""

import numpy as np
import xarray as xr

from bayesgmm.plots._data import thinned_tree


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
