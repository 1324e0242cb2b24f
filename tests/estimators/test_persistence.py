"""`load`: the estimator that was saved, of this version or the first, or one error that names the file."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, Prior
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em.start_plan import Starts
from bayesgmm.exceptions import InputError
from bayesgmm.posterior.adapter import row_weights_of

DATA = Path(__file__).parents[1] / "reference_data"
FAITHFUL = load_old_faithful()


@pytest.fixture(scope="module")
def of_old() -> BayesianGaussianMixture:
    return bayesgmm.load(DATA / "saved_0_1.nc")


def refused(path: Path) -> str:
    """The one line that a file ends in."""
    with pytest.raises(InputError, match=f"got {path}: ") as caught:
        bayesgmm.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- files of version 0.1


def test_a_posterior_of_version_0_1_is_read(of_old):
    np.testing.assert_array_equal(
        of_old.means_, [[-0.2970636706754211, 0.0973831982286463], [6.370792340710702, 6.208842439746541]]
    )
    assert (of_old.n_components, of_old.draws, of_old.chains, of_old.random_state) == (2, 20, 2, 0)
    assert of_old.posterior_["posterior"].sizes["draw"] == 20
    assert not hasattr(of_old, "feature_names_in_")
    assert of_old.n_features_in_ == 2
    assert of_old.predict([[0.0, 0.0], [6.0, 6.0]]).tolist() == [0, 1]


def test_names_weights_prior_and_interruption_of_version_0_1_are_read():
    fit = bayesgmm.load(DATA / "saved_0_1_weighted.nc")
    assert list(fit.feature_names_in_) == ["length", "Breite ü"]
    np.testing.assert_array_equal(fit.weights_, [0.5408100157248218, 0.45918998427517826])
    assert fit.prior_.scale_prior.dof == 2.0
    np.testing.assert_array_equal(fit.prior_.scale_prior.scale, np.diag([3.090675, 2.577987]))
    assert fit.posterior_.attrs["interrupted"] == 1
    assert set(row_weights_of(fit.posterior_)) == {1.0, 2.0}
    assert "prior_scale" in fit.posterior_["posterior"]


def test_they_are_the_same_once_saved_anew(of_old, tmp_path):
    of_old.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    assert again.posterior_.identical(of_old.posterior_)
    assert again.get_params().keys() == of_old.get_params().keys()


# ---- EM


def same(one: object, two: object) -> bool:
    """Equal to the last bit, and of the same type."""
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tolist()) == (two.dtype, two.shape, two.tolist())
    if isinstance(one, tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, Starts | Prior | Mixture):
        return all(same(getattr(one, each.name), getattr(two, each.name)) for each in fields(one))
    return type(one) is type(two) and one == two


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, np.float32),
        ({"covariance_type": "tied", "prior": "weakly_informative"}, np.float64),
        ({"covariance_type": "EEI", "prior": Prior.fraley_raftery(FAITHFUL, 2, covariance_type="EEI")}, np.float64),
        ({"covariance_type": "diag", "means_init": np.array([[2.0, 50.0], [4.0, 80.0]])}, np.float64),
        ({"covariance_type": "spherical", "random_state": np.random.RandomState(3)}, np.float32),
    ],
    ids=["full", "tied", "tied_diag", "diag", "spherical"],
)
def test_an_em_fit_comes_back_to_the_last_bit(settings, dtype, tmp_path):
    rows = FAITHFUL.astype(dtype)
    fit = GaussianMixture(2, **{"random_state": 0, "n_init": 3, **settings}).fit(rows)
    fit.save(tmp_path / "em.nc")
    again = bayesgmm.load(tmp_path / "em.nc")
    assert type(again) is GaussianMixture
    fitted = {name: value for name, value in vars(fit).items() if name.endswith("_")}
    assert {name for name in vars(again) if name.endswith("_")} == set(fitted)
    assert [name for name, value in fitted.items() if not same(value, getattr(again, name))] == []
    np.testing.assert_array_equal(again.predict_proba(rows), fit.predict_proba(rows))
    np.testing.assert_array_equal(again.sample(3)[0], fit.sample(3)[0])
    assert (again.bic(), again.icl()) == (fit.bic(), fit.icl())
    kept, given = again.get_params(), fit.get_params()
    for name in given.keys() - {"random_state", "means_init", "prior"}:
        assert same(kept[name], given[name]), name
    assert np.array_equal(kept["means_init"], given["means_init"]) or given["means_init"] is None
    assert same(kept["prior"], given["prior"])


def test_the_file_of_an_em_fit_opens_in_xarray(tmp_path):
    fit = GaussianMixture(2, random_state=0, n_init=1).fit(FAITHFUL)
    fit.save(tmp_path / "em.nc")
    with xr.open_datatree(tmp_path / "em.nc") as opened:
        np.testing.assert_array_equal(opened["parameters"]["means_"], fit.means_)
        np.testing.assert_array_equal(opened["history"]["objective"], fit.history_)


def test_a_mixture_set_by_hand_is_saved(tmp_path):
    mixture = GaussianMixture(2)
    mixture.weights_, mixture.means_ = np.array([0.4, 0.6]), np.array([[0.0], [3.0]])
    mixture.precisions_cholesky_ = np.array([[[1.0]], [[2.0]]])
    mixture.save(tmp_path / "em.nc")
    again = bayesgmm.load(tmp_path / "em.nc")
    np.testing.assert_array_equal(again.mixture_.covariances, mixture.mixture_.covariances)
    assert not hasattr(again, "starts_")


def test_parameters_set_after_the_fit_are_refused(tmp_path):
    fit = GaussianMixture(2, random_state=0, n_init=1).fit(FAITHFUL)
    fit.set_params(n_components=3)
    with pytest.raises(InputError, match="Fit again after setting parameters"):
        fit.save(tmp_path / "em.nc")
    assert list(tmp_path.iterdir()) == []


# ---- what does not agree


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"future": 1}, "parameters that this version knows; got future"),
        ({"n_components": 7}, "posterior/weights with cluster: 7"),
        ({"n_components": "two"}, "n_components"),
        ({"covariance_type": "diag"}, "diag covariances; got full ones"),
        ({"covariance_type": "round"}, "round"),
    ],
)
def test_settings_that_are_not_the_posteriors(of_old, tmp_path, change, reason):
    tree = of_old.posterior_.copy()
    tree.attrs = {**tree.attrs, "settings": json.dumps({**json.loads(tree.attrs["settings"]), **change})}
    tree.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
    assert reason in refused(tmp_path / "wrong.nc")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": [[1.0]]}, "the prior's scale"),
        ({"mean_covariance": [[1.0]]}, "the prior's mean_covariance"),
        ({"scale_prior": {"dof": 2.0, "scale": [[1.0]]}}, "the prior's scale of the scale"),
        ({"variances": {"variance_shape": [1.0], "variance_scale": [1.0], "eta": 1.0}}, "variances of 2 features"),
        ({"mean": [1.0, 2.0, 3.0]}, "a prior for 2 features; got one for 3"),
        ({"dof": [4.0, 4.0, 4.0]}, "dof that fits shape"),
        ({"mean_covariance": None}, "'independent' with other parts"),
        ({"form": "of a later version"}, "'of a later version'"),
        ({"future": 1}, "'future'"),
    ],
)
def test_a_prior_of_other_dimensions(of_old, tmp_path, change, reason):
    tree = of_old.posterior_.copy()
    tree.attrs = {**tree.attrs, "prior": json.dumps({**json.loads(tree.attrs["prior"]), **change})}
    tree.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
    assert reason in refused(tmp_path / "wrong.nc")


def test_groups_that_are_not_of_one_fit(of_old, tmp_path):
    def without(group):
        return {name: child.to_dataset() for name, child in of_old.posterior_.children.items() if name != group}

    posterior, data = of_old.posterior_["posterior"].to_dataset(), of_old.posterior_["observed_data"].to_dataset()
    cases = {
        "without its groups (posterior)": without("posterior"),
        "without its groups (observed_data)": without("observed_data"),
        "with cluster: 2": without("posterior") | {"posterior": posterior.isel(cluster=[0])},
        "feature: 1": without("observed_data") | {"observed_data": data.isel(feature=[0])},
        "means": without("posterior") | {"posterior": posterior.drop_vars("means")},
    }
    for number, (reason, groups) in enumerate(cases.items()):
        tree = xr.DataTree.from_dict(groups)
        tree.attrs = of_old.posterior_.attrs
        tree.to_netcdf(tmp_path / f"{number}.nc", engine="h5netcdf")
        assert reason in refused(tmp_path / f"{number}.nc")


def test_covariances_of_another_family(of_old, tmp_path):
    tree = of_old.posterior_.copy()
    settings = {**json.loads(tree.attrs["settings"]), "covariance_type": "tied"}
    tree.attrs = {**tree.attrs, "settings": json.dumps(settings), "covariance_type": "tied"}
    tree.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
    assert "tied covariances; got those of another family" in refused(tmp_path / "wrong.nc")


@pytest.mark.parametrize(
    ("attribute", "change", "reason"),
    [
        ("settings", {"n_components": 3}, "n_components=2"),
        ("settings", {"covariance_type": "diag"}, "diag"),
        ("settings", {"future": 1}, "got future"),
        ("starts", {"future": 1}, "'future'"),
        ("prior", {"scale": [[1.0]]}, "the prior's scale"),
    ],
)
def test_an_em_fit_that_does_not_agree(tmp_path, attribute, change, reason):
    fit = GaussianMixture(2, random_state=0, n_init=1, prior="weakly_informative").fit(FAITHFUL)
    fit.save(tmp_path / "em.nc")
    with xr.open_datatree(tmp_path / "em.nc") as opened:
        tree = opened.load()
    tree.attrs[attribute] = json.dumps({**json.loads(tree.attrs[attribute]), **change})
    tree.to_netcdf(tmp_path / "wrong.nc", engine="h5netcdf")
    assert reason in refused(tmp_path / "wrong.nc")


def test_a_file_without_a_fit(tmp_path):
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    assert "without the record of a fit" in refused(tmp_path / "other.nc")
    pd.DataFrame({"a": [1.0]}).to_csv(tmp_path / "table.csv")
    assert "no NetCDF 4 file" in refused(tmp_path / "table.csv")
