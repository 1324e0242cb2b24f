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
# # Robust clustering: wrong entries and heavy tails
#
# A Gaussian mixture must explain every row, so that a few odd ones decide where its clusters are. Two extensions deal
# with two kinds of odd rows:
#
# - **Noise**, `noise=True`: rows that belong to no cluster, such as typing errors. A uniform component takes them.
# - **Student-t components**, `component="student_t"`: clusters whose own rows scatter further than a Gaussian allows,
#   such as returns of stocks. Far rows count less.
#
# We see first what goes wrong without them, on rows that we damage ourselves, then use each on real data where it
# belongs, and let BIC choose.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import cbook

import bayesgmm
from bayesgmm import GaussianMixture, style
from bayesgmm.datasets import load_credit_card, load_old_faithful
from bayesgmm.exceptions import SingleBestStartWarning

style.use()
kinds = {"Gaussian": {}, "Student-t": {"component": "student_t", "dof": "shared"}, "with noise": {"noise": True}}
eruptions = load_old_faithful()


def with_wrong_rows(minutes):
    """Old Faithful, and five more eruptions whose waiting times are too long by so many minutes."""
    wrong = pd.DataFrame({"eruptions": np.linspace(4.2, 4.4, 5), "waiting": np.linspace(78, 82, 5) + minutes})
    return pd.concat([eruptions, wrong], ignore_index=True)


# %% [markdown]
# ## Five wrong rows among 277
#
# Old Faithful's eruptions have two clusters, short and long. We add five long eruptions whose waiting times were noted
# wrongly, too long by a number of minutes that we increase, and fit two components each time.

# %%
shifts = np.arange(0, 161, 10)
rows = []
for minutes in shifts:
    for kind, settings in kinds.items():
        fit = GaussianMixture(2, random_state=0, **settings).fit(with_wrong_rows(minutes))
        sd = np.sqrt(fit.covariances_[:, 1, 1])
        rows += [
            {"kind": kind, "minutes": minutes, "cluster": k, "mean": fit.means_[k, 1], "sd": sd[k]} for k in (0, 1)
        ]
damage = pd.DataFrame(rows).pivot_table(["mean", "sd"], ["kind", "cluster"], "minutes")

figure, axes = plt.subplots(1, 2, figsize=(7.4, 3), layout="constrained")
for colour, kind in zip(("C2", "C1", "C0"), kinds, strict=True):
    for cluster, ls in ((0, "--"), (1, "-")):
        label = f"{kind}, {('short', 'long')[cluster]}"
        for ax, what in zip(axes, ("mean", "sd"), strict=True):
            ax.plot(shifts, damage.loc[(kind, cluster), what], ls=ls, color=colour, label=label)
for ax, what in zip(axes, ("mean", "standard deviation"), strict=True):
    ax.set(xlabel="five waiting times too long by, min", ylabel=f"{what} of waiting, min")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# The Gaussian cluster of long eruptions (solid red) first widens to include the wrong rows. Where they are far enough,
# the cluster of *short* eruptions takes them (dashed red), with a mean and a spread that are those of neither.
# Student-t components keep their means while their spread grows slowly. With noise the clusters hardly notice: five
# rows are given to the noise component and that is all.

# %%
far = with_wrong_rows(shifts[-1])
fit = GaussianMixture(2, noise=True, random_state=0).fit(far)
probability = fit.predict_proba(far)[:, -1]
print(f"probability of noise: at least {probability[-5:].min():.3f} for the five wrong rows,")
print(f"at most {probability[:-5].max():.2f} for the others")
print(f"share of noise: {fit.noise_weight_:.1%}; wrong rows: {5 / len(far):.1%}")

# %% [markdown]
# The last column of `predict_proba` is each row's probability of being noise, and `noise_weight_` its share.
# (`BayesianGaussianMixture` takes `noise=True` as well, and gives the share an interval.)
#
# ## Noise: ages that nobody has
#
# The card holders of Greene (2003) have real errors: some ages are fractions of a year. The notebook on
# [customers](customers.ipynb) removes them by hand, because somebody looked. Suppose that nobody did.

# %%
applicants = load_credit_card()
active = applicants[(applicants["card"] == "yes") & (applicants["expenditure"] > 0)].reset_index(drop=True)
customers = active[["age", "income", "expenditure"]]
impossible = customers["age"] < 18
logs = np.log(customers)
print(f"{len(customers)} customers, {impossible.sum()} of them with an age below 18: ")
print(customers.loc[impossible, "age"].round(2).tolist())

# %%
by_kind = {}
for kind, settings in kinds.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingleBestStartWarning)  # other optima are a few nats away, BIC differs by more
        by_kind[kind] = {k: GaussianMixture(k, random_state=1, **settings).fit(logs) for k in (2, 3, 4)}
bic = pd.DataFrame({kind: {k: fit.bic(logs) for k, fit in fits.items()} for kind, fits in by_kind.items()})
bic.rename_axis("components").round(1)

# %% [markdown]
# Lower is better. Noise wins, with three components: the three segments that the other notebook finds after cleaning.
# Gaussians ask for a fourth. Which one is it?

# %%
gaussian, noisy = (by_kind[kind][bic[kind].idxmin()] for kind in ("Gaussian", "with noise"))
smallest = gaussian.weights_.argmin()
fourth = gaussian.predict(logs) == smallest
print(f"Gaussians: the smallest component has {fourth.sum()} customers, {(fourth & impossible).sum()} impossible;")
print(f"its centre: age {np.exp(gaussian.means_[smallest, 0]):.1f} years")
flagged = noisy.predict(logs) == -1
print(f"noise: {flagged.sum()} customers, among them {(flagged & impossible).sum()} of {impossible.sum()} impossible")
noise = pd.Series(noisy.predict_proba(logs)[:, -1], name="P(noise)")
customers[flagged].assign(**{"P(noise)": noise}).sort_values("P(noise)", ascending=False).round(2)

# %% [markdown]
# The Gaussian mixture presents typing errors as a segment of customers. The noise component finds each of them without
# being told what an age can be, and besides a few customers who are odd in another way: next to no spending, or an
# income far below all others. `predict` gives them -1, so that no campaign addresses them as members of a segment.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained", sharey=True)
for ax, fit, title in zip(axes, (gaussian, noisy), ("Four Gaussians", "Three Gaussians and noise"), strict=True):
    label = fit.predict(logs)
    for k in range(fit.n_components):
        ax.scatter(*customers.loc[label == k, ["age", "expenditure"]].to_numpy().T, s=6, alpha=0.6, color=f"C{k}")
    ax.scatter(*customers.loc[label == -1, ["age", "expenditure"]].to_numpy().T, marker="x", color=style.INK, s=30)
    ax.set(xscale="log", yscale="log", xlabel="age, years", title=title)
axes[0].set(ylabel="spending, USD a month")
plt.show()

# %% [markdown]
# Left, the errors at the left margin are a component like others. Right, crosses are noise, and the three segments are
# those of the other notebook: dormant customers below, young and established ones above, which overlap.
#
# ## Student-t components: months that everybody remembers
#
# Heavy tails are another matter: nothing is wrong with these rows. Monthly returns of Microsoft and the S&P 500, 1990
# to 2022, come with matplotlib (from Yahoo Finance). We fit one Gaussian and check it.

# %%
prices = pd.read_csv(cbook.get_sample_data("Stocks.csv"), comment="#", parse_dates=["Date"], index_col="Date")
prices = prices.rename(columns={"^GSPC": "S&P 500", "MSFT": "Microsoft"})[["S&P 500", "Microsoft"]].dropna()
prices = prices[prices.index.day == 1].iloc[:-1]
returns = (100 * np.log(prices)).diff().dropna()
one = GaussianMixture(1).fit(returns)
check = bayesgmm.check_model(one, returns, random_state=1, progress=False)
print(check)

# %% [markdown]
# The sentence about heavy tails says what to try. So we do.

# %%
tails = bayesgmm.select_components(
    returns,
    [1, 2, 3],
    ["full"],
    component=["gaussian", "student_t"],
    em={"dof": "shared"},
    random_state=1,
    progress=False,
)
print(tails)
months = tails.best
tails.table.reset_index().pivot_table("bic", "n_components", "component").round(1)

# %% [markdown]
# One Student-t component describes the returns better than two or three Gaussians, which would have us look for regimes
# ([finance](finance.ipynb) does). Few degrees of freedom mean heavy tails; 200, the upper bound, would mean a Gaussian.
#
# Each row has a weight u with which it enters means and scales: near one or above it for usual rows, near zero for
# outliers. It is an outlier score that comes with the fit.

# %%
u = pd.Series(months.mixture_.robust_weights(returns), returns.index, name="u")
print(f"degrees of freedom: {months.dof_[0]:.1f}")
oddest = returns.assign(u=u).nsmallest(8, "u")
oddest.round(2)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained", width_ratios=[1, 1.4])
shown = left.scatter(returns["S&P 500"], returns["Microsoft"], c=u, s=12, cmap="viridis")
left.set(xlabel="S&P 500, % a month", ylabel="Microsoft, % a month")
figure.colorbar(shown, ax=left, label="u")
right.plot(returns.index, u, ".", ms=3, color=style.DATA)
right.plot(oddest.index, oddest["u"], "o", color="C2", ms=5)
right.set(ylabel="u", ylim=(0, None))
plt.show()

# %% [markdown]
# Left, u falls from the middle outwards along the ellipses of the fit. Right, the eight lowest are marked: half of them
# lie in the years from 1997 to 2001, when Microsoft rose and fell with other technology stocks, others in crises of the
# market.
#
# What do far rows do to the estimates? We compare the spread of Microsoft's returns with and without the eight months.

# %%
without = returns.drop(oddest.index)
gaussian_sd, student_scale = {}, {}
for months_kept, rows in (("all months", returns), ("without the eight", without)):
    gaussian_sd[months_kept] = np.sqrt(GaussianMixture(1).fit(rows).covariances_[0, 1, 1])
    student_scale[months_kept] = np.sqrt(GaussianMixture(1, component="student_t").fit(rows).scales_[0, 1, 1])
spread = pd.DataFrame({"Gaussian: standard deviation": gaussian_sd, "Student-t: scale": student_scale})
change = spread.iloc[1] / spread.iloc[0] - 1
print(change.map("{:+.0%} without the eight months".format).to_string())
spread.round(2)

# %% [markdown]
# Two months in a hundred, and yet the Gaussian's standard deviation depends on them; the scale of the Student-t
# component changes less, because these months had a small weight anyway. (`scales_` are the matrices in the density;
# `covariances_` are larger, as heavy tails are.)
#
# ## Which of them?

# %%
table = pd.DataFrame(
    {
        "customers": bic.min(),
        "returns": {
            "Gaussian": tails.table["bic"].xs("gaussian", level="component").min(),
            "Student-t": tails.table["bic"].xs("student_t", level="component").min(),
            "with noise": bayesgmm.select_components(
                returns, [1, 2, 3], ["full"], noise=True, random_state=1, progress=False
            )
            .table["bic"]
            .min(),
        },
    }
)
(table - table.min()).round(1)

# %% [markdown]
# The table has BIC behind the best of a column: noise for customers with wrong entries, Student-t for returns.
#
# ## Conclusions
#
# - **A small component far from the others may be an error, not a group.** Look at its rows before you name it, and
#   compare with `noise=True`.
# - **Noise is for rows that belong nowhere, Student-t for clusters with tails.** With wrong entries Student-t widens
#   each cluster instead; with heavy tails noise cuts them off at an arbitrary place. BIC compares all three.
# - **`check_model` says which misfit it is**, and suggests Student-t components where tails are too heavy.
# - **Flags come with probabilities or weights**: `predict_proba(X)[:, -1]` with noise, `mixture_.robust_weights(X)`
#   with Student-t. Whether a flagged row is wrong, or the most important of all, no model knows.
#
# More: [noise](../docs/noise.md), [families of components](../docs/families.md).

# %%
short = damage["mean"].loc[(slice(None), 0), :].droplevel("cluster")
assert short.loc["Gaussian"].iloc[-1] - short.loc["Gaussian"].iloc[0] > 5
assert short.loc[["Student-t", "with noise"]].sub(short[0], axis=0).dropna().abs().max(axis=None) < 1
assert damage.loc[("Student-t", 1), "sd"].iloc[-1] > damage.loc[("with noise", 1), "sd"].iloc[-1] + 1
assert probability[-5:].min() > 0.9 > probability[:-5].max()
assert abs(fit.noise_weight_ - 5 / len(far)) < 0.02
assert bic.idxmin()[["Gaussian", "with noise"]].tolist() == [4, 3]
assert (fourth & impossible).sum() == (flagged & impossible).sum() == impossible.sum()
assert flagged.sum() < 15
assert not check.gaussian
assert "student_t" in str(check)
assert tails.winner.component == "student_t"
assert tails.winner.n_components == 1
assert months.dof_[0] < 10
assert oddest.index.year.isin(range(1997, 2002)).sum() >= 4
assert oddest["u"].max() < 0.4 < u.median()
assert abs(change.iloc[1]) < abs(change.iloc[0]) / 2
assert 0.015 < len(oddest) / len(returns) < 0.025
assert table.idxmin().tolist() == ["with noise", "Student-t"]
