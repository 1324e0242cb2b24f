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
# # Customer segments, and how sure we are of them
#
# A marketing lead wants segments: who are our card holders, and which of them should we write to? Any clustering
# program returns segments. A decision also needs to know how well the data support them: how many there are, how
# uncertain their sizes and means are, and which customers could as well belong to another one. The customers are those
# of Greene (2003): applicants for a credit card, with their age, income and monthly spending on the card.

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm
from bayesgmm import BayesianGaussianMixture, style
from bayesgmm.datasets import load_credit_card
from bayesgmm.exceptions import SamplingWarning

style.use()
applicants = load_credit_card()
accepted = applicants[applicants["card"] == "yes"]
too_young, inactive = accepted["age"] < 18, accepted["expenditure"] == 0
customers = accepted[~too_young & ~inactive].reset_index(drop=True)
print(f"{len(applicants)} applicants, of whom {len(accepted)} got the card;")
print(f"{too_young.sum()} of these have an impossible age, {inactive.sum()} spent nothing:")
print(f"{len(customers)} customers are left")

# %% [markdown]
# Customers who spend exactly nothing form a segment of their own, on which a Gaussian would collapse, so they are left
# out. Ages below 18 are errors in the source.
#
# ## Skewed columns
#
# Amounts of money are skewed: many people spend little, a few spend a lot. A mixture of Gaussians would spend
# components on the tail and present them as segments. On the log scale a difference is a ratio, which is also how
# people talk about income.

# %%
X = np.log(customers[["age", "income", "expenditure"]]).rename(columns=lambda name: f"log_{name}")
units = {"age": "age, years", "income": "income, 10,000 USD a year", "expenditure": "spending, USD a month"}
figure, axes = plt.subplots(2, 3, figsize=(7.4, 3.8), layout="constrained", sharey="row")
for (column, unit), (above, below) in zip(units.items(), axes.T, strict=True):
    above.hist(customers[column], bins=40, color=style.DATA)
    below.hist(X[f"log_{column}"], bins=40, color=style.DATA)
    above.set(xlabel=unit)
    below.set(xlabel=f"log of {unit}")
for row in axes:
    row[0].set(ylabel="customers")
plt.show()
skewness = {"skewness": customers[list(units)].skew().to_numpy(), "skewness of the log": X.skew().to_numpy()}
pd.DataFrame(skewness, index=list(units)).round(2)

# %% [markdown]
# ## How many segments?

# %%
choice = bayesgmm.select_components(X, range(1, 7), ["full", "diag"], random_state=1, progress=False)
print(choice)
choice.plot(["bic", "icl"])

# %% [markdown]
# BIC asks which model describes the customers best; ICL asks for clusters that can be told apart. That they disagree
# is the first result: there are no separate groups with gaps between them, but the distribution has a shape that one
# Gaussian does not have and three describe. We use three, as a description.
#
# ## Three segments, with error bars

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdict is printed
    fit = BayesianGaussianMixture(3, draws=4000, target_accept=0.9, random_state=1, progress=False).fit(X)
print(fit)

# %% [markdown]
# In the units of the data, with names for the segments:

# %%
draws = az.extract(fit.idata)
order = np.argsort(draws["means"].mean("sample").sel(feature="log_expenditure").to_numpy())
order = [order[0], *sorted(order[1:], key=lambda k: float(draws["means"].mean("sample").sel(feature="log_age")[k]))]
names = ["dormant", "young", "established"]


def with_interval(values: np.ndarray, form: str) -> str:
    """Median and 89 % interval over draws."""
    low, middle, high = np.quantile(values, [0.055, 0.5, 0.945])
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


profile = {}
for name, k in zip(names, order, strict=True):
    weight, mean = draws["weights"].isel(cluster=k), np.exp(draws["means"].isel(cluster=k))
    profile[name] = {
        "share of customers, %": with_interval(100 * weight.to_numpy(), ".0f"),
        "median age, years": with_interval(mean.sel(feature="log_age").to_numpy(), ".0f"),
        "median income, 1,000 USD a year": with_interval(10 * mean.sel(feature="log_income").to_numpy(), ".0f"),
        "median spending, USD a month": with_interval(mean.sel(feature="log_expenditure").to_numpy(), ".0f"),
    }
pd.DataFrame(profile)

# %% [markdown]
# The mean of a Gaussian on the log scale is the log of the median, so `exp` of a component's mean is the median of the
# segment. The names are ours; the numbers and their intervals come from the data. Little is known about the smallest
# segment: its intervals are wide.

# %%
colours = {name: style.CLUSTERS[k] for name, k in zip(names, order, strict=True)}
membership = fit.predict_proba(X)[:, order]
segment = pd.Series(np.array(names)[membership.argmax(axis=1)], name="segment")
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.6), layout="constrained", sharey=True)
for column, ax in zip(["age", "income"], axes, strict=True):
    for name in names:
        rows = customers[segment == name]
        ax.scatter(rows[column], rows["expenditure"], s=8, alpha=0.6, color=colours[name], label=name)
    ax.set(yscale="log", xlabel=units[column])
axes[0].set(ylabel=units["expenditure"])
figure.legend(*axes[0].get_legend_handles_labels(), title="segment", markerscale=2, loc="outside right upper")
plt.show()

# %% [markdown]
# ## How certain is each customer's segment?
#
# Every customer has a probability for each segment, and there are two reasons why it is rarely one. Segments overlap,
# which no amount of data will change; and the parameters of the segments are uncertain, which more customers would
# change. `membership_uncertainty` separates the two (in nats; a coin toss has 0.69).

# %%
split = bayesgmm.membership_uncertainty(fit)
sure = membership.max(axis=1)
by_segment = pd.DataFrame(
    {
        "customers": segment.value_counts(),
        "share above 90 %": pd.Series(sure > 0.9).groupby(segment).mean(),
        "share below 60 %": pd.Series(sure < 0.6).groupby(segment).mean(),
        "overlap, nats": pd.Series(split["overlap"]).groupby(segment).mean(),
        "parameters, nats": pd.Series(split["parameters"]).groupby(segment).mean(),
    }
).loc[names]
share = float(split["mean_overlap"] / split["mean_total"])
print(f"Probability of the most probable segment: above 90 % for {np.mean(sure > 0.9):.0%} of the customers,")
print(f"below 60 % for {np.mean(sure < 0.6):.0%}")
print(f"{share:.0%} of the uncertainty is due to overlap; the rest would vanish with more customers")
by_segment.round(2)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained")
shown = left.scatter(customers["age"], customers["expenditure"], c=sure, s=9, cmap="viridis", vmin=1 / 3, vmax=1)
left.set(yscale="log", xlabel=units["age"], ylabel=units["expenditure"])
figure.colorbar(shown, ax=left, label="probability of the most probable segment")
for name in names:
    rows = (segment == name).to_numpy()
    right.scatter(split["overlap"][rows], split["parameters"][rows], s=9, color=colours[name], label=name)
right.set(xlabel="uncertainty from overlap, nats", ylabel="uncertainty from parameters, nats")
figure.legend(*right.get_legend_handles_labels(), title="segment", markerscale=2, loc="outside right upper")
plt.show()

# %% [markdown]
# ## The profit of a campaign
#
# Say that a letter costs 1 and reactivating a dormant customer earns 4. Then it pays to write to everyone who is
# dormant with a probability above 1/4, which is not the same list as "the dormant segment". The profit has an interval
# too: each posterior draw assigns every customer to a segment, and so gives a profit.

# %%
letter, gain = 1, 4
dormant = fit.membership(X)["mean"].isel(cluster=order[0]).to_numpy()
lists = {"probability above 1/4": dormant > letter / gain, "most probable segment": membership.argmax(axis=1) == 0}
labels = bayesgmm.sample_labels(fit, random_state=1).to_numpy().reshape(-1, len(X))
is_dormant = labels == order[0]
plan = {
    name: {
        "letters": int(rows.sum()),
        "dormant customers reached": with_interval(is_dormant[:, rows].sum(axis=1), ".0f"),
        "profit": with_interval(gain * is_dormant[:, rows].sum(axis=1) - letter * rows.sum(), ".0f"),
    }
    for name, rows in lists.items()
}
pd.DataFrame(plan).T

# %% [markdown]
# ## Conclusions
#
# A marketing lead can
#
# - **use the segments as a vocabulary**: dormant customers spend a tenth of what the others do, young and established
#   ones differ in age and income by far more than the error bars, and a message can be written for each;
# - **act on probabilities**, with the cost of a wasted letter in the threshold, as above;
# - **reactivate the dormant customers**, and plan with the interval of their number, not with its midpoint.
#
# She should not
#
# - tell the board that the market "consists of" three kinds of people: ICL prefers one group, the segments overlap, and
#   most of the uncertainty about a customer would remain with ten times the data;
# - give a customer whose most probable segment has 55 % a treatment that pays for that segment only;
# - compare the size of the smallest segment with last year's without looking at the intervals.
#
# To compare segments between years, `refit.match(fit)` gives the components of a refit the numbers of this fit, with
# a score for each.

# %%
assert choice.winner == ("full", 3)
assert choice.winner_by("icl").n_components == 1
assert fit.diagnose().verdict == "converged"
ages = np.exp(draws["means"].sel(feature="log_age").isel(cluster=order).mean("sample").to_numpy())
assert ages[1] + 5 < ages[2]
low, high = np.quantile(draws["weights"].isel(cluster=order[0]), [0.055, 0.945])
assert 0.03 < low < high < 0.25
assert high - low > 0.05
assert 0.7 < share < 0.97
assert 0.03 < np.mean(sure < 0.6) < 0.3
assert lists["probability above 1/4"].sum() > lists["most probable segment"].sum()
np.testing.assert_allclose(is_dormant.mean(axis=0), dormant, atol=0.05)
