# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Missing laboratory values: what to do, and what not
#
# Not every patient has every test. The usual ways out are to drop incomplete rows, or to fill in the column's mean.
# `missing="marginalize"` does neither: each row counts with what was observed of it. Here we delete values of a
# complete data set in three ways that occur in hospitals, so that we know the truth, and see which answer comes back.
#
# The data are those of Reaven & Miller (1979): 145 adults, with fasting glucose in the blood (`fpg`), and, from a
# glucose tolerance test that takes hours, glucose and insulin afterwards (areas under the curves). All are positive and
# skewed, so we take logarithms. The clinical classification is not used by the model.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import expit

from bayesgmm import BayesianGaussianMixture, GaussianMixture, style
from bayesgmm.datasets import load_diabetes
from bayesgmm.exceptions import DegeneracyWarning

style.use()
patients = load_diabetes()
tests = np.log(patients[["fpg", "glucose", "insulin"]])
late = ["glucose", "insulin"]  # of the tolerance test
TESTED = 0.55


def deleted(mechanism, seed):
    """The tests without those that, by some mechanism, were not done; half of the tolerance tests or so."""
    rng = np.random.default_rng(seed)
    given = {
        "completely at random": np.zeros(len(tests)),
        "at random, given fpg": 3 * (tests["fpg"].rank() / len(tests) - 0.5),
        "by their own value": 3 * (tests["glucose"].rank() / len(tests) - 0.5),
    }[mechanism]
    done = rng.random(len(tests)) < expit(given + np.log(TESTED / (1 - TESTED)))
    X = tests.copy()
    X.loc[~done, late] = np.nan
    return X


mechanisms = ["completely at random", "at random, given fpg", "by their own value"]
figure, axes = plt.subplots(1, 3, figsize=(7.4, 3), layout="constrained", sharey=True)
for ax, mechanism in zip(axes, mechanisms, strict=True):
    gone = deleted(mechanism, 0)["glucose"].isna()
    for rows, colour, label in ((~gone, "C0", "tested"), (gone, "C2", "not tested (value deleted)")):
        ax.scatter(*patients.loc[rows, ["fpg", "glucose"]].to_numpy().T, s=9, color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel="fasting glucose", title=mechanism)
axes[0].set(ylabel="glucose after the test")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# - *Completely at random*: tubes were lost. Tested patients are like others.
# - *At random, given fpg*: the doctor orders the long test mostly if fasting glucose is high. Tested patients are
#   sicker than others, but the reason is in the data.
# - *By their own value*: patients who suspect a bad result do come, say, others stay away. The reason is the missing
#   value itself.
#
# ## Three fits of each
#
# We want the mean of log glucose among all 145 patients, and the share of the cluster with high glucose. The reference
# is the fit of all values. Each mechanism is repeated ten times.

# %%
settings = {"n_components": 2, "random_state": 0}
truth = GaussianMixture(**settings).fit(tests)


def answers(fit):
    """Mean of log glucose in the mixture, and the share of its second cluster, which has higher glucose."""
    order = fit.means_[:, 1].argsort()
    return {"mean log glucose": fit.weights_ @ fit.means_[:, 1], "share of high glucose": fit.weights_[order[1]]}


def with_column_means(X):
    """Fit to rows in which each missing value is the mean of its column."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegeneracyWarning)  # counted below
        return GaussianMixture(**settings).fit(X.fillna(X.mean()))


ways = {
    "complete rows only": lambda X: GaussianMixture(**settings).fit(X.dropna()),
    "column means filled in": with_column_means,
    "marginalized": lambda X: GaussianMixture(missing="marginalize", **settings).fit(X),
}
found, narrowest = [], {way: [] for way in ways}
for mechanism in mechanisms:
    for way, fit in ways.items():
        for seed in range(10):
            each = fit(deleted(mechanism, seed))
            found.append({"mechanism": mechanism, "way": way} | answers(each))
            narrowest[way].append(np.sqrt(each.covariances_[:, 1, 1].min()))
found = pd.DataFrame(found)
errors = found.set_index(["mechanism", "way"]) - pd.Series(answers(truth))
table = errors.groupby(level=["mechanism", "way"], sort=False).mean()
print("difference from the fit of all values, mean of ten deletions")
table.round(3)

# %%
figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.6), layout="constrained", sharey=True, sharex=True)
for ax, mechanism in zip(axes, mechanisms, strict=True):
    for at, way in enumerate(ways):
        values = errors.loc[(mechanism, way), "mean log glucose"]
        ax.plot(values, at + np.linspace(-0.2, 0.2, len(values)), ".", color=style.DATA)
        ax.plot(values.mean(), at, "D", color="C2")
    ax.axvline(0, color=style.INK, lw=1, ls="--")
    ax.set(title=mechanism)
axes[0].set(yticks=range(3), yticklabels=list(ways))
figure.supxlabel("error of mean log glucose (gray: one deletion each; red: mean)", fontsize=9)
plt.show()

# %% [markdown]
# Left, all three are right on average. Middle, complete rows and filled-in means are biased: they take the sick for the
# population. Marginalizing is nearly not, as it knows fasting glucose of everybody. Right, nothing helps entirely: the
# bias shrinks as far as fasting glucose tells about the missing value, and the rest remains.
#
# Column means do worse than the figure shows. Equal values are a cluster without width, on which some fits collapse
# (`GaussianMixture` warns, here silenced):

# %%
collapsed = pd.Series({way: np.sum(np.array(sd) < 1e-3) for way, sd in narrowest.items()}, name="collapsed fits of 30")
collapsed.to_frame()

# %% [markdown]
# ## What ignorability asks for
#
# Leaving the mechanism out of the model is right if values are **missing at random** (Rubin 1976): whether a value is
# missing depends on observed values only. Nothing in the data can test this; one must know how they came about. Record
# the reasons for a test among the features, and "by their own value" becomes "at random". See [missing
# values](../docs/missing_values.md).
#
# ## How sure is the cluster of a patient without the test?

# %%
X = deleted("at random, given fpg", 0)
fit = GaussianMixture(missing="marginalize", **settings).fit(X)
untested = X["glucose"].isna().to_numpy()


def entropy(probability):
    """Uncertainty of each row's cluster, nats."""
    return -(probability * np.log(np.clip(probability, 1e-300, 1))).sum(axis=1)


uncertainty = pd.DataFrame(
    {"with what was observed": entropy(fit.predict_proba(X)), "with all values": entropy(fit.predict_proba(tests))}
)
by_test = uncertainty.groupby(np.where(untested, "not tested", "tested")).mean()
by_test["patients"] = [untested.sum(), (~untested).sum()]
by_test.round(3)

# %%
grid = np.linspace(tests["fpg"].min(), tests["fpg"].max(), 200)
only_fasting = pd.DataFrame({"fpg": grid, "glucose": np.nan, "insulin": np.nan})
high = int(fit.means_[:, 1].argmax())
figure, ax = plt.subplots(figsize=(7.4, 2.8), layout="constrained")
ax.plot(np.exp(grid), fit.predict_proba(only_fasting)[:, high], color="C0", label="fasting glucose alone")
for rows, colour, label in ((~untested, "C1", "tested"), (untested, "C2", "not tested")):
    ax.plot(np.exp(tests["fpg"][rows]), fit.predict_proba(X)[rows, high], ".", color=colour, label=label)
ax.set(xscale="log", xlabel="fasting glucose", ylabel="P(cluster of high glucose)")
figure.legend(loc="outside right upper")
plt.show()

# %% [markdown]
# Patients without the test lie on the curve of fasting glucose alone and are undecided for some stretch of it; those
# with the test are mostly near 0 or 1, whatever their fasting glucose. (The curve rises again at very low fasting
# glucose, because the cluster of high glucose is wide: a property of Gaussians, not of patients.) The table says the
# same: the test would settle most of these cases. Nobody's uncertainty is hidden by a value that was made up.
#
# ## Fill in values, with intervals
#
# `impute` completes rows for methods that cannot do without. Do the intervals hold what they promise? We know the
# deleted values.

# %%
LEVEL = 0.89


def coverage(mechanism, seed):
    """Share of deleted values of glucose that lie in their intervals, and the mean error of their means."""
    X = deleted(mechanism, seed)
    filled = GaussianMixture(missing="marginalize", **settings).fit(X).impute(X, ci_prob=LEVEL, random_state=0)
    gone = X["glucose"].isna()
    value, mean = tests["glucose"][gone], filled.mean["glucose"][gone]
    inside = (filled.lower["glucose"][gone] < value) & (value < filled.upper["glucose"][gone])
    return {"mechanism": mechanism, "coverage": inside.mean(), "mean error": (mean - value).mean()}


kept = pd.DataFrame([coverage(mechanism, seed) for mechanism in mechanisms for seed in range(10)])
kept = kept.groupby("mechanism", sort=False).mean()
print(f"promised coverage: {LEVEL}")
kept.round(3)

# %% [markdown]
# Where values are missing at random, intervals cover about as often as promised. By their own value, imputed values are
# too high on average, and no interval tells.
#
# `BayesianGaussianMixture` adds the uncertainty of the parameters:

# %%
posterior = BayesianGaussianMixture(2, missing="marginalize", draws=500, random_state=1, progress=False).fit(X)
print(f"verdict: {posterior.diagnose().verdict}")
width = {}
for name, each in (("EM", fit), ("posterior", posterior)):
    filled = each.impute(X, ci_prob=LEVEL, random_state=0)
    width[name] = (filled.upper - filled.lower).loc[untested, late].mean()
widths = pd.DataFrame(width)
widths.round(3)

# %% [markdown]
# Its intervals are wider. `impute(...).draws` holds completed data sets: run your analysis on each, and the spread of
# its results says what the missing values cost (multiple imputation, Rubin 1987).

# %%
completed = posterior.impute(X, n_draws=50, random_state=0).draws
means = np.asarray(completed)[:, :, 1].mean(axis=1)
low, high_end = np.quantile(means, [0.055, 0.945])
print(f"mean log glucose: {means.mean():.2f} (89 % of completed data sets: {low:.2f} to {high_end:.2f})")
print(f"truth {tests['glucose'].mean():.2f}; tested patients only {X['glucose'].mean():.2f}")

# %% [markdown]
# ## Conclusions
#
# - **Ask why values are missing before how to replace them.** At random given what you have: `missing="marginalize"`.
#   By their own value: collect the reason, or model it.
# - **Complete rows are right only if rows were lost completely at random**, and then they waste information. Column
#   means make clusters that are not there, and correlations smaller.
# - **A patient with fewer tests gets a less certain cluster**, as it should be.
# - **Impute with intervals or draws, not with a value.** Take the posterior's if the rows are few.

# %%
bias = errors.reset_index().pivot_table("mean log glucose", "mechanism", "way")
assert bias.loc["completely at random"].abs().max() < 0.04
for way in ("complete rows only", "column means filled in"):
    assert bias.loc["at random, given fpg", way] > 3 * abs(bias.loc["at random, given fpg", "marginalized"])
assert 0.01 < bias.loc["by their own value", "marginalized"] < bias.loc["by their own value", "complete rows only"]
assert collapsed["column means filled in"] > collapsed["marginalized"] == 0
assert by_test.loc["not tested", "with what was observed"] > 1.5 * by_test.loc["not tested", "with all values"]
assert (kept["coverage"].drop("by their own value") > LEVEL - 0.08).all()
assert kept.loc["by their own value", "mean error"] > 0.05 > kept["mean error"].iloc[:2].abs().max()
assert posterior.diagnose().verdict == "converged"
assert (widths["posterior"] > widths["EM"]).all()
assert low < tests["glucose"].mean() < high_end < X["glucose"].mean()
