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
# # Regression by conditioning: a curve that bends, with two bands
#
# A glucose tolerance test takes three hours; fasting glucose takes one sample of blood. What does the second say about
# the first? Reaven and Miller (1979) measured 145 adults: `fpg`, fasting plasma glucose, and the areas under the curves
# of `glucose` and `insulin` during the test. A mixture of all three, once fitted, predicts any of them from any others.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from bayesgmm import BayesianGaussianMixture, GaussianMixture, diagnose, style
from bayesgmm.datasets import load_diabetes
from bayesgmm.exceptions import ExtrapolationWarning, SamplingWarning

style.use()
X = np.log(load_diabetes()[["fpg", "glucose", "insulin"]])


def posterior_of(rows: pd.DataFrame) -> BayesianGaussianMixture:
    """Three components; that they are not identified is looked at below, once, and need not be told at each fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return BayesianGaussianMixture(3, random_state=1, progress=False).fit(rows)


fit = posterior_of(X)
verdict = diagnose(fit)
print(verdict.verdict, *verdict.findings, sep="\n")

# %% [markdown]
# The chains have converged, but labels switch, and in many draws two components are enough. For a regression this does
# not matter: the conditional distribution is the same whatever the components are called, so nothing has to be
# relabelled, and draws with two components and with three are averaged.
#
# ## Insulin given fasting glucose
#
# In each draw every component has a regression line, and the weights move from one component to the next as fasting
# glucose rises.

# %%
grid = np.linspace(70.0, 350.0, 200)
found = fit.predict_features(pd.DataFrame({"fpg": np.log(grid)}), target="insulin").sel(feature="insulin")

figure, ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
ax.scatter(*np.exp(X[["fpg", "insulin"]].to_numpy().T), s=8, color=style.DATA, linewidth=0, label="adults")
for band, label, alpha in (("new_row", "89% band of a new adult", 0.2), ("curve", "89% band of the curve", 0.5)):
    look = {"color": style.POSTERIOR, "alpha": alpha, "linewidth": 0}
    ax.fill_between(grid, *np.exp(found[band].to_numpy().T), label=label, **look)
ax.plot(grid, np.exp(found["mean"]), color=style.POSTERIOR, label="exp of the mean of log insulin")
ax.set(xscale="log", yscale="log", xlabel="fasting glucose", ylabel="insulin area")
ax.set_xticks([70, 100, 150, 200, 300], [70, 100, 150, 200, 300])
ax.minorticks_off()
ax.legend(loc="lower left")
plt.close(figure)
figure

# %% [markdown]
# Insulin rises a little with fasting glucose, while the body still answers higher glucose by more insulin, and then
# falls, as it no longer can. No straight line has this shape, and nobody had to choose the curve.
#
# The narrow band is about the curve, the mean of many adults with this fasting glucose: more data make it narrower. The
# wide one is about one further adult, and most of it would stay.
#
# ## Do the bands hold what they say?
#
# Each fifth of the adults is predicted by a fit to the others: by the posterior, by the mixture that EM finds, and by a
# straight line with normal errors. The band should hold 89 %.


# %%
def line(train: pd.DataFrame, test: pd.DataFrame, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 89 % band of linear regression with normal errors."""
    model = LinearRegression().fit(train[["fpg"]], train[target])
    sd = np.sqrt(((train[target] - model.predict(train[["fpg"]])) ** 2).sum() / (len(train) - 2))
    mean = model.predict(test[["fpg"]])
    return mean, np.column_stack([mean - 1.598 * sd, mean + 1.598 * sd])


records = []
for others, fifth in KFold(5, shuffle=True, random_state=0).split(X):
    train, test = X.iloc[others], X.iloc[fifth]
    posterior = posterior_of(train)
    em = GaussianMixture(3, random_state=1).fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # one adult far from the others is no surprise
        tables = {name: each.predict_features(test[["fpg"]]) for name, each in (("posterior", posterior), ("EM", em))}
    for target in ("glucose", "insulin"):
        predictions = {name: table.sel(feature=target) for name, table in tables.items()}
        answers = {name: (each["mean"].to_numpy(), each["new_row"].to_numpy()) for name, each in predictions.items()}
        for name, (mean, band) in (answers | {"straight line": line(train, test, target)}).items():
            y = test[target].to_numpy()
            held = (band[:, 0] < y) & (y < band[:, 1])
            record = {"target": target, "method": name, "held": held, "width": np.ptp(band, axis=1)}
            records.append(pd.DataFrame(record | {"squared error": (y - mean) ** 2}))
scores = pd.concat(records).groupby(["target", "method"]).mean()
scores.round(3)

# %% [markdown]
# The posterior's bands hold about 89 %. Those of EM are the narrowest and hold less, since they take the parameters for
# known. The straight line's are wider than the posterior's, and its errors larger: it misses the bend.
#
# ## Far from the data
#
# Beyond the data a mixture goes on along the line of its widest component. `far` marks such values, and a warning
# counts them:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    beyond = fit.predict_features(pd.DataFrame({"fpg": np.log([100.0, 350.0, 3_000.0])}), target="insulin")
print(caught[0].message)
beyond[["log_density", "tail_probability", "far"]].to_dataframe().round(4)

# %% [markdown]
# ## More that is known
#
# Given fasting glucose *and* the glucose of the test, the same fit predicts insulin again, a little more closely:

# %%
widths = {}
for known in (["fpg"], ["fpg", "glucose"]):
    band = fit.predict_features(X, observed=known, target="insulin")["new_row"].sel(feature="insulin")
    widths[" and ".join(known)] = float(np.exp(band.diff("ci_bound")).mean())
pd.Series(widths, name="mean ratio of the upper to the lower bound").rename_axis("given").round(2)

# %% [markdown]
# The conditional distribution is a posterior too, here of the two areas of an adult with a fasting glucose of 110. All
# functions of this package and of ArviZ take it.

# %%
areas = fit.condition({"fpg": np.log(110.0)})["posterior"]
dict(areas["means"].sizes)

# %% [markdown]
# ## What to take away
#
# - **One fit answers every question of this kind**, in any direction, with bends and with spreads that vary.
# - **Say which band you mean.** The curve's is for means of many, the new row's for the next one.
# - **Labels do not matter here**, so a posterior whose components are not identified predicts as well as any other.
# - **Look at the support.** Far from the data the bands are no wider than elsewhere, though nobody knows more there.

# %%
assert verdict.verdict.startswith("converged")
assert widths["fpg and glucose"] < widths["fpg"]
assert 80.0 < grid[np.argmax(found["mean"].to_numpy())] < 150.0
for target in ("glucose", "insulin"):
    by_method = scores.loc[target]
    assert abs(by_method.loc["posterior", "held"] - 0.89) < 0.06
    assert by_method.loc["EM", "width"] < by_method.loc["posterior", "width"] < by_method.loc["straight line", "width"]
    assert by_method.loc["posterior", "squared error"] < by_method.loc["straight line", "squared error"]
assert beyond["far"].to_numpy().tolist() == [False, False, True]
