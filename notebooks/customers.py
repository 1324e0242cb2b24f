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
# %% [markdown]
# # Customer segments, and how sure we are of them
#
# A marketing lead wants segments: who are our card holders, and whom shall we write to? Any clustering program gives
# segments. What a decision needs besides is how much of them is in the data: how many there are, how far off their
# sizes and means may be, and which customers could as well be in another one. The customers are those of Greene
# (2003): applicants for a credit card, with age, income and what they charge to the card in a month.

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm
from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_credit_card
from bayesgmm.exceptions import SamplingWarning

applicants = load_credit_card()
got_it = applicants[applicants["card"] == "yes"]
customers = got_it[(got_it["age"] >= 18) & (got_it["expenditure"] > 0)].reset_index(drop=True)
print(f"{len(applicants)} applicants, {len(got_it)} got the card;")
print(
    f"{(got_it['age'] < 18).sum()} of these have an impossible age, {(got_it['expenditure'] == 0).sum()} spent nothing:"
)
print(f"{len(customers)} customers are left")

# %% [markdown]
# Customers who spend exactly nothing are a segment already; a Gaussian would shrink onto them without end, and the
# mixture has nothing to add. Ages below 18 are typing errors of the source.
#
# ## Skewed columns
#
# Money is skewed: many spend little and a few a lot. A mixture of Gaussians would use up components on the tail, and
# call them segments. On the log scale a difference is a ratio, which is also how people speak of income.

# %%
X = np.log(customers[["age", "income", "expenditure"]]).rename(columns=lambda name: f"log_{name}")
figure, axes = plt.subplots(2, 3, figsize=(9, 4), layout="constrained")
for column, (above, below) in zip(["age", "income", "expenditure"], axes.T, strict=True):
    above.hist(customers[column], bins=40, color="0.75")
    below.hist(X[f"log_{column}"], bins=40, color="C0")
    above.set(title=column)
    below.set(xlabel=f"log {column}")
plt.close(figure)
skewness = {"as it is": customers[["age", "income", "expenditure"]].skew().to_numpy(), "log": X.skew().to_numpy()}
print(pd.DataFrame(skewness, index=["age", "income", "expenditure"]).round(2))
figure

# %% [markdown]
# ## How many segments?

# %%
choice = bayesgmm.select_components(X, range(1, 7), ["full", "diag"], random_state=1, progress=False)
print(choice)
choice.plot(["bic", "icl"])

# %% [markdown]
# BIC asks which model describes the customers; ICL asks for clusters that can be told apart. Their difference is the
# first result: these customers are no groups with gaps between them, but the cloud has a shape that one Gaussian
# does not have, and three describe it. We take three, as a description.
#
# ## Three segments, with error bars

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdict is printed
    fit = BayesianGaussianMixture(3, draws=4000, target_accept=0.9, random_state=1, progress=False).fit(X)
verdict = bayesgmm.diagnose(fit)
print(verdict.verdict)

draws = az.extract(fit.posterior_)
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
# The mean of a logarithm is the logarithm of the median, so `exp` of a component's mean is the median customer of that
# segment. The names are ours; the numbers and their intervals are the data's. What is known of the smallest segment is
# little: look at the width of its intervals.

# %%
colours = dict(zip(names, ["C3", "C0", "C2"], strict=True))
membership = fit.predict_proba(X)[:, order]
segment = pd.Series(np.array(names)[membership.argmax(axis=1)], name="segment")
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for column, ax in zip(["age", "income"], axes, strict=True):
    for name in names:
        rows = customers[segment == name]
        ax.scatter(rows[column], rows["expenditure"], s=8, alpha=0.6, color=colours[name], label=name)
    ax.set(yscale="log", xlabel={"age": "age, years", "income": "income, 10,000 USD a year"}[column])
axes[0].set(ylabel="spending, USD a month")
axes[0].legend(markerscale=2)
plt.close(figure)
figure

# %% [markdown]
# ## How sure is each customer's segment?
#
# Every customer has a probability for each segment, and there are two reasons for it not to be one. Segments
# overlap, which no amount of data will change. And the parameters of the segments are not known, which more customers
# would change. `membership_uncertainty` tells them apart (in nats; 0.69 is a coin's toss).

# %%
split = bayesgmm.membership_uncertainty(fit)
sure = membership.max(axis=1)
by_segment = pd.DataFrame(
    {
        "customers": segment.value_counts(),
        "surer than 90 %": pd.Series(sure > 0.9).groupby(segment).mean(),
        "less sure than 60 %": pd.Series(sure < 0.6).groupby(segment).mean(),
        "overlap": pd.Series(split["overlap"]).groupby(segment).mean(),
        "parameters": pd.Series(split["parameters"]).groupby(segment).mean(),
    }
).loc[names]
share = float(split["mean_overlap"] / split["mean_total"])
print(f"{np.mean(sure > 0.9):.0%} of the customers are surer than 90 %, {np.mean(sure < 0.6):.0%} less sure than 60 %")
print(f"{share:.0%} of the uncertainty is overlap, the rest would go away with more customers")
by_segment.round(2)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
shown = left.scatter(customers["age"], customers["expenditure"], c=sure, s=9, cmap="viridis", vmin=1 / 3, vmax=1)
left.set(yscale="log", xlabel="age, years", ylabel="spending, USD a month")
figure.colorbar(shown, ax=left, label="probability of the likeliest segment")
right.scatter(split["overlap"], split["parameters"], s=9, c=segment.map(colours))
right.set(xlabel="uncertainty from overlap, nats", ylabel="from parameters, nats")
plt.close(figure)
figure

# %% [markdown]
# ## A campaign, costed with probabilities
#
# Say a letter costs 1 and waking a dormant customer brings 4. Then it pays to write to whoever is dormant with a
# probability above 1/4, which is not the same list as "the dormant segment". And the profit gets an interval: in each
# draw of the posterior every customer is in one of the segments, so that each draw gives a profit.

# %%
letter, gain = 1, 4
dormant = fit.membership(X)["mean"].isel(cluster=order[0]).to_numpy()
lists = {"probability above 1/4": dormant > letter / gain, "likeliest segment": membership.argmax(axis=1) == 0}
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
# ## What to take away
#
# A marketing lead would
#
# - **use the segments as a language**: dormant customers spend a tenth of what the others do, young and established
#   ones differ in age and income by far more than the error bars, and a message can be written for each;
# - **act on probabilities**, with the cost of a wrong letter in the threshold, as above;
# - **wake the dormant ones**, and plan with the interval of their number, not with its middle.
#
# She would not
#
# - tell the board that the market "consists of" three kinds of people: ICL prefers one group, the segments overlap, and
#   most of the doubt about a customer would be there with ten times the data;
# - give a customer whose likeliest segment has 55 % a treatment that only pays for one segment;
# - compare this year's size of the smallest segment with last year's without looking at its interval.

# %%
assert choice.winner == ("full", 3)
assert choice.winner_by("icl").n_components == 1
assert verdict.verdict == "converged"
ages = np.exp(draws["means"].sel(feature="log_age").isel(cluster=order).mean("sample").to_numpy())
assert ages[1] + 5 < ages[2]
low, high = np.quantile(draws["weights"].isel(cluster=order[0]), [0.055, 0.945])
assert 0.03 < low < high < 0.25
assert high - low > 0.05
assert 0.7 < share < 0.97
assert 0.03 < np.mean(sure < 0.6) < 0.3
assert lists["probability above 1/4"].sum() > lists["likeliest segment"].sum()
np.testing.assert_allclose(is_dormant.mean(axis=0), dormant, atol=0.05)
