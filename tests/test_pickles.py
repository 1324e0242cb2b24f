"""Pickles name nothing but what `bayesgmm` and the faces of its packages offer, so that modules may move."""

import io
import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior
from bayesgmm._compiled import ShapeError
from bayesgmm.datasets import load_old_faithful
from bayesgmm.estimators import InvalidParameterError
from bayesgmm.exceptions import InformationError, InputError
from bayesgmm.priors import Gamma, Separation

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.EvidenceWarning"),  # of forty draws
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning"),
    pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingleBestStartWarning"),
]
PUBLIC = {
    "GaussianMixture", "BayesianGaussianMixture", "Mixture", "Prior", "Diagnosis", "ModelCheck", "OutlierScores",
}  # fmt: skip


class Reader(pickle.Unpickler):
    """Reads a pickle and notes what it names."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self.named: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle names."""
        self.named.add((module, name))
        return super().find_class(module, name)


def named(value: Any) -> set[tuple[str, str]]:
    """Modules of ours, and what of them a pickle of the value names."""
    reader = Reader(pickle.dumps(value))
    reader.load()
    return {(module, name) for module, name in reader.named if module.split(".")[0] == "bayesgmm"}


@pytest.fixture(scope="module")
def things() -> dict[str, Any]:
    X = load_old_faithful()
    short = {"draws": 40, "tune": 60, "chains": 2, "init": "best", "n_init": 2, "random_state": 0, "progress": False}
    em, posterior = GaussianMixture(2, random_state=0).fit(X), BayesianGaussianMixture(2, **short).fit(X)
    quiet = {"random_state": 0, "progress": False}
    return {
        "EM": em,
        "MAP": GaussianMixture(2, prior="weakly_informative", n_init=2, random_state=0).fit(X),
        "posterior": posterior,
        "mixture": em.mixture_,
        "conditional mixtures": em.condition({"waiting": [60.0, 80.0]}),
        "standard errors": em.standard_errors(X),
        "bootstrap": em.bootstrap(X, n_replicates=4, progress=False),
        "selection": bayesgmm.select_components(X, [1, 2], ["full"], n_init=2, **quiet),
        "merging": bayesgmm.merge_components(em, X),
        "tests": bayesgmm.bootstrap_lrt(X, 1, n_replicates=3, n_init=2, **quiet),
        "diagnosis": bayesgmm.diagnose(posterior),
        "checks": bayesgmm.check_model(em, X, n_replicates=39, **quiet),
        "outliers": bayesgmm.outlier_scores(em, X, **quiet),
        "comparison": bayesgmm.compare(em, posterior, bootstrap=0, **quiet),
        "evidence": bayesgmm.log_evidence(posterior, random_state=0),
        "average": bayesgmm.average_models([posterior, posterior]),
        "partition": bayesgmm.estimate_partition(posterior, **quiet),
        "ball": bayesgmm.credible_ball(em.predict(X), posterior),
        "representatives": bayesgmm.representative_partitions(posterior, **quiet),
        "prior": Prior.weakly_informative(X),
        "hierarchical prior": Prior.malsiner_walli(X),
        "errors": [
            InputError(expected="a", got="b"),
            InvalidParameterError("a"),
            ShapeError("x (n)", [3]),
            InformationError("a", figures={"b": 1.0}),
        ],
        "hyperpriors": [Gamma(1.0, 1.0), Separation(np.zeros(2), np.ones(2), 2.0)],
    }


def test_pickles_hold_public_names_only(things: dict[str, Any]) -> None:
    found = set[tuple[str, str]]().union(*map(named, things.values()))
    faces = {module: import_module(module) for module, _ in found}
    hidden = {(at, name) for at, name in found if name not in getattr(faces[at], "__all__", vars(faces[at]))}
    assert not hidden
    assert all(module == "bayesgmm" or module.count(".") == 1 for module, _ in found)
    assert {name for module, name in found if module == "bayesgmm"} == PUBLIC


def test_a_module_path_would_be_found() -> None:
    from bayesgmm.em.em import EMSettings

    assert ("bayesgmm.em.em", "EMSettings") in named(EMSettings())
