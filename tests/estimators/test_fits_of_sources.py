"""Fits of rows not in memory are those of the same rows in memory."""

import _thread
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from source_cases import KINDS, MIXTURE, NAMES, MadeBlock, MadeSource, cut_small, rows, scale, write

import bayesgmm
from bayesgmm import GaussianMixture, Prior, open_source, select_components
from bayesgmm.data import Data, SourceData
from bayesgmm.em import EMSettings, run_em
from bayesgmm.exceptions import InputError, InterruptedWarning

TO_THE_END = {"tol": 1e-12, "random_state": 0, "n_init": 2}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    cut_small(monkeypatch)


def read(X):
    return SourceData.read_once(open_source(X), rng=np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_of_every_kind_of_source_is_that_of_memory(kind, tmp_path):
    X, source = rows() * scale(kind), write(kind, tmp_path)
    memory, fit = (GaussianMixture(2, **TO_THE_END).fit(each) for each in (X, source))
    np.testing.assert_allclose(fit.means_, memory.means_, rtol=1e-4, atol=1e-5 * scale(kind))
    assert fit.log_likelihood_ == pytest.approx(memory.log_likelihood_, rel=1e-9)
    assert fit.n_features_in_ == 3
    assert list(getattr(fit, "feature_names_in_", NAMES)) == NAMES
    same = GaussianMixture(2)
    same.weights_, same.means_, same.covariances_ = fit.weights_, fit.means_, fit.covariances_
    np.testing.assert_array_equal(fit.predict(source), same.predict(X))
    np.testing.assert_allclose(fit.predict_proba(source), same.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(fit.score_samples(source), same.score_samples(X), rtol=1e-9)
    assert fit.score(source) == pytest.approx(same.score(X), rel=1e-12)
    for criterion in ("aic", "bic", "icl"):
        assert getattr(fit, criterion)(source) == pytest.approx(getattr(same, criterion)(X), rel=1e-12)
        assert getattr(fit, criterion)() == pytest.approx(getattr(same, criterion)(X), rel=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEI", "EVI", "VEE", "EVV"])
def test_em_from_an_equal_start_comes_to_an_equal_end(covariance_type, tmp_path):
    start = GaussianMixture(2, covariance_type=covariance_type, max_iter=3, random_state=0, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = start.fit(rows()).mixture_
    settings = EMSettings(tol=1e-10, reg_covar=np.zeros(3))
    ends = [run_em(data, start, settings=settings) for data in (Data.of(rows()), read(write(".npy", tmp_path)))]
    assert ends[1].log_likelihood == pytest.approx(ends[0].log_likelihood, rel=1e-12)


def test_a_source_of_few_rows_gives_the_fit_of_memory_to_the_last_bit(tmp_path):
    X = rows(300)
    memory, fit = (GaussianMixture(2, random_state=0).fit(each) for each in (X, write("Parquet", tmp_path, X)))
    np.testing.assert_array_equal(fit.means_, memory.means_)
    assert fit.log_likelihood_ == memory.log_likelihood_
    assert "source_" not in vars(memory)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_same_seed_gives_the_same_fit_whatever_the_threads(n_jobs, tmp_path):
    source = write("Parquet, a glob", tmp_path)
    one, other = (GaussianMixture(3, random_state=1, n_jobs=n).fit(source) for n in (None, n_jobs))
    np.testing.assert_array_equal(one.means_, other.means_)
    assert one.bic() == other.bic()


@pytest.mark.parametrize("prior", ["weakly_informative", "fraley_raftery", Prior.weakly_informative(rows())])
def test_priors(prior, tmp_path):
    fit = GaussianMixture(2, prior=prior, **TO_THE_END).fit(write("CSV", tmp_path))
    memory = GaussianMixture(2, prior=fit.prior_, **TO_THE_END).fit(rows())
    assert fit.objective_ == pytest.approx(memory.objective_, rel=1e-9)


def test_settings_that_say_where_to_start(tmp_path):
    source = write(".npy", tmp_path)
    fit = GaussianMixture(2, means_init=MIXTURE.means, tol=1e-12).fit(source)
    assert fit.starts_.kinds == ("given",)
    fit.set_params(warm_start=True, means_init=None, max_iter=1)
    before = fit.log_likelihood_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fit.fit(source).log_likelihood_ == pytest.approx(before, rel=1e-12)
    one = GaussianMixture(1).fit(source)
    np.testing.assert_allclose(one.means_[0], rows().mean(axis=0), atol=1e-9)
    with pytest.raises(InputError, match="labels_init with rows in memory"):
        GaussianMixture(2, labels_init=np.zeros(1_003)).fit(source)


def test_standard_errors_are_those_of_memory(tmp_path):
    X, source = pd.DataFrame(rows(), columns=NAMES), write("Parquet, ragged groups", tmp_path)
    fit = GaussianMixture(2, **TO_THE_END).fit(source)
    for robust in (False, True):
        memory, elsewhere = (fit.standard_errors(each, robust=robust) for each in (X, source))
        np.testing.assert_allclose(elsewhere.covariance, memory.covariance, rtol=1e-8, atol=1e-14)


def test_selection_is_that_of_memory(tmp_path):
    settings = {"covariance_types": ["full", "diag"], "random_state": 1, "progress": False, "em": {"tol": 1e-10}}
    X, source = rows(), write("Parquet", tmp_path)
    memory, elsewhere = (select_components(each, [1, 2, 3], **settings) for each in (X, source))
    assert elsewhere.winner == memory.winner
    found, wanted = (each.table.loc["full", "bic"].to_numpy()[:2] for each in (elsewhere, memory))
    np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=1e-6)
    alone = GaussianMixture(2, random_state=1, tol=1e-10, prior="weakly_informative").fit(source)
    among = select_components(source, 2, "full", prior="weakly_informative", random_state=1, progress=False)
    for part in ("mean", "scale", "dof"):
        np.testing.assert_array_equal(getattr(among.best.prior_, part), getattr(alone.prior_, part))
    for refused in ({"criterion": "loo"}, {"sample_weight": np.ones(1_003)}):
        with pytest.raises(InputError, match="for rows that are not in memory"):
            select_components(source, 2, progress=False, **refused)


# ---- features


def test_features_are_those_of_the_fit(tmp_path):
    fit = GaussianMixture(2, random_state=0).fit(write("Parquet", tmp_path))
    (tmp_path / "other").mkdir()
    frame = pd.DataFrame(rows(), columns=NAMES)
    frame.assign(site="north")[["c", "site", "b", "a"]].to_parquet(tmp_path / "other" / "rows.parquet")
    np.testing.assert_array_equal(fit.predict(tmp_path / "other" / "rows.parquet"), fit.predict(frame))
    frame[["a", "b"]].to_parquet(tmp_path / "other" / "rows.parquet")
    with pytest.raises(InputError, match=r"columns among 'a' and 'b'.*got 'c'"):
        fit.predict(tmp_path / "other" / "rows.parquet")
    unnamed = GaussianMixture(2, random_state=0).fit(rows())
    np.testing.assert_array_equal(unnamed.predict(write("Parquet", tmp_path)), unnamed.predict(rows()))
    np.save(tmp_path / "narrow.npy", rows()[:, :2])
    with pytest.raises(InputError, match="rows of 3 features; got 2"):
        unnamed.score(tmp_path / "narrow.npy")
    with pytest.raises(InputError, match=r"the columns 'a', 'b' and 'c', in this order; got 'c', 'b' and 'a'"):
        fit.score(open_source(write("Parquet", tmp_path), columns=["c", "b", "a"]))


def test_a_later_fit_forgets_names_and_source(tmp_path):
    fit = GaussianMixture(2, random_state=0).fit(write("Parquet", tmp_path))
    fit.fit(write(".npy", tmp_path))
    assert not hasattr(fit, "feature_names_in_")
    assert fit.source_.n_rows == 1_003
    fit.fit(rows())
    assert not hasattr(fit, "source_")


# ---- refusals


def test_weights_of_rows_elsewhere_are_refused(tmp_path):
    source = write(".npy", tmp_path)
    fit = GaussianMixture(2, random_state=0).fit(source)
    for use in (fit.fit, fit.score, fit.bic, fit.standard_errors):
        with pytest.raises(InputError, match="no sample_weight with rows not in memory"):
            use(source, sample_weight=np.ones(1_003))


def test_what_needs_all_rows_says_how_to_take_a_sample(tmp_path):
    source = write("Parquet", tmp_path)
    fit = GaussianMixture(2, random_state=0).fit(source)
    for X in (source, Path(source), [source], open_source(source), MadeSource(rows())):
        for use in (
            lambda X: fit.bootstrap(X, progress=False),
            lambda X: fit.report(tmp_path / "report.html", X),
            Prior.weakly_informative,
        ):
            with pytest.raises(InputError, match=r"in memory.*got rows not in memory.*\.sample\(100_000\)"):
                use(X)


def test_too_few_rows_for_the_components(tmp_path):
    X = rows(3)
    with pytest.raises(InputError, match="n_components"):
        GaussianMixture(4).fit(write(".npy", tmp_path, X))
    with pytest.raises(InputError, match="at least two rows to fit; got 1"):
        GaussianMixture(1).fit(write(".npy", tmp_path, X[:1]))


def test_columns_may_have_any_name():
    frame = pd.DataFrame(rows(60), columns=["fingerprint", "store_path", "blocks"])
    assert GaussianMixture(1).fit(frame).n_features_in_ == 3


# ---- interruption


class Interrupting(MadeBlock):
    """Sends Ctrl-C when it has been read some times."""

    n_read = 0

    def read(self):
        type(self).n_read += 1
        if type(self).n_read == self.at:
            _thread.interrupt_main()
        yield self.part


@pytest.mark.parametrize("at", [12, 40])
def test_ctrl_c_keeps_the_best_mixture(at, monkeypatch):
    source = MadeSource(rows())
    monkeypatch.setattr("bayesgmm.em.multistart._QUICK", 0.0)  # starts in threads, as on many rows
    monkeypatch.setattr(Interrupting, "n_read", 0)
    monkeypatch.setattr(Interrupting, "at", at, raising=False)
    source.blocks[3] = Interrupting(source.blocks[3].part, 510)
    with pytest.warns(InterruptedWarning, match="the best mixture"):
        fit = GaussianMixture(3, tol=1e-13, random_state=0, n_init=5).fit(source)
    assert fit.starts_.interrupted
    assert np.isfinite(fit.log_likelihood_)
    assert fit.bic() == pytest.approx(fit.bic(rows()), rel=1e-12)


def test_ctrl_c_in_the_first_pass_keeps_nothing(monkeypatch):
    source = MadeSource(rows())
    monkeypatch.setattr(Interrupting, "n_read", 0)
    monkeypatch.setattr(Interrupting, "at", 1, raising=False)
    source.blocks[3] = Interrupting(source.blocks[3].part, 510)
    with pytest.raises(KeyboardInterrupt):
        GaussianMixture(3, random_state=0).fit(source)


def test_out_of_time(tmp_path):
    with pytest.warns(InterruptedWarning, match="out of max_seconds"):
        fit = GaussianMixture(2, max_seconds=1e-6).fit(write(".npy", tmp_path))
    assert fit.score(rows()) < 0.0


# ---- results in files, and saved fits


@pytest.mark.parametrize("kind", [".npy", "Parquet, a glob", "mixed files"])
def test_results_are_written_block_by_block(kind, tmp_path):
    source = write(kind, tmp_path)
    fit = GaussianMixture(2, random_state=0).fit(source)
    X = pd.DataFrame(rows(), columns=NAMES) if hasattr(fit, "feature_names_in_") else rows()
    fit.predict_to(tmp_path / "clusters.parquet")
    fit.predict_to(tmp_path / "shares.parquet", source, proba=True)
    fit.score_samples_to(tmp_path / "densities.parquet", X)
    found, shares = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("clusters", "shares"))
    assert found["cluster"].dtype == np.int32
    np.testing.assert_array_equal(found["cluster"], fit.predict(X))
    np.testing.assert_allclose(shares[["p0", "p1"]], fit.predict_proba(X), atol=1e-12)
    densities = pd.read_parquet(tmp_path / "densities.parquet")["log_density"]
    np.testing.assert_allclose(densities, fit.score_samples(X), rtol=1e-12)
    for write_to in (fit.predict_to, fit.score_samples_to):
        with pytest.raises(InputError, match="overwrite=True"):
            write_to(tmp_path / "clusters.parquet")
    fit.predict_to(tmp_path / "clusters.parquet", X[:10], overwrite=True)
    assert len(pd.read_parquet(tmp_path / "clusters.parquet")) == 10


def test_a_fit_comes_back_with_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("Parquet, a glob", tmp_path)
    fit = GaussianMixture(2, random_state=0).fit("part-*.parquet")
    fit.save("fit.nc")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = bayesgmm.load(tmp_path / "fit.nc")
    assert again.source_.paths == tuple(str(tmp_path / f"part-{i}.parquet") for i in range(4))
    assert (again.source_.n_rows, again.source_.fingerprint) == (1_003, fit.source_.fingerprint)
    np.testing.assert_array_equal(again.source_.sample, fit.source_.sample)
    assert len(again.source_.sample) == 300
    again.predict_to("clusters.parquet")
    X = pd.DataFrame(rows(), columns=NAMES)
    np.testing.assert_array_equal(pd.read_parquet("clusters.parquet")["cluster"], fit.predict(X))
    (tmp_path / "part-2.parquet").unlink()
    with pytest.raises(InputError, match=r"the 4 file\(s\) of the fit; got no file at '.*part-2\.parquet'"):
        again.predict_to("more.parquet")
    write("Parquet, a glob", tmp_path, rows(seed=1))
    with pytest.raises(InputError, match="files that have changed since"):
        again.predict_to("more.parquet")


def test_rows_that_were_in_no_file_are_asked_for(tmp_path):
    fits = [GaussianMixture(2, random_state=0).fit(X) for X in (rows(), MadeSource(rows()))]
    for fit in fits:
        with pytest.raises(InputError, match=r"the rows X.*Pass X\."):
            fit.predict_to(tmp_path / "clusters.parquet")
    fits[1].save(tmp_path / "fit.nc")
    assert bayesgmm.load(tmp_path / "fit.nc").source_.paths == ()


# ---- memory

PEAK = """
import re, sys
from bayesgmm import GaussianMixture
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
GaussianMixture(3, random_state=0).fit(sys.argv[1]).predict_to(sys.argv[1] + ".clusters")
before = peak()
fit = GaussianMixture(3, random_state=0, n_init=1, max_iter=20, tol=1e-3).fit(sys.argv[2])
fit.predict_to(sys.argv[2] + ".clusters")
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
@pytest.mark.parametrize(("kind", "most"), [(".npy", 60.0), ("Parquet", 120.0)])
def test_memory_does_not_grow_with_the_rows(kind, most, tmp_path):
    X = MIXTURE.sample(8_000_000, rng=np.random.default_rng(0))[0]  # 183 MB
    for name, part in (("few", X[:120_000]), ("rows", X)):
        if kind == ".npy":
            np.save(tmp_path / f"{name}.npy", part)
        else:
            pd.DataFrame(part, columns=NAMES).to_parquet(tmp_path / f"{name}.parquet")
    paths = [str(next(tmp_path.glob(f"{name}.*"))) for name in ("few", "rows")]
    command = [sys.executable, "-W", "ignore", "-c", PEAK, *paths]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < most
