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
# # Your own prior, your own covariate: extending the PyMC model
#
# `BayesianGaussianMixture` fits one kind of model. There are two ways to extend it. `build_model` returns that model as
# an ordinary PyMC model, in which any hyperparameter can be made random. `MvNormalMixture` is the mixture alone, a PyMC
# distribution for a model of your own. In both cases PyMC draws the samples, and the rest of this package (relabelling,
# diagnostics, partitions) works on the result.
#
# Here both are applied to Old Faithful. The second answers a ranger's question: does the length of this eruption say
# anything about the next one?

# %%
import logging

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytensor.tensor as pt

import bayesgmm
from bayesgmm import style
from bayesgmm.datasets import load_old_faithful

style.use()
logging.getLogger("pymc").setLevel(logging.ERROR)  # its warnings about R-hat do not know about switched labels
geyser = load_old_faithful()
settings = {"tune": 1000, "chains": 4, "random_seed": 1, "progressbar": False}

# %% [markdown]
# ## Your own prior
#
# The default prior centres the components' means on the mean of the data. Suppose that the model should estimate this
# centre: a hyperprior, one line, replaces the number. It is a function that is called inside the model and returns the
# value to use, here one centre for both components.

# %%
centre, spread = geyser.mean().to_numpy(), geyser.std().to_numpy()
model = bayesgmm.build_model(
    geyser, 2, hyperpriors={"mean": lambda: pm.Normal("centre", centre, spread, dims="feature") * np.ones((2, 1))}
)
with model:
    trace = pm.sample(1000, **settings)
first = bayesgmm.diagnose(trace, geyser)
print(first.verdict)

# %% [markdown]
# PyMC does not know that the numbering of components is arbitrary; `diagnose` does. Relabelling needs no names here,
# because `build_model` uses the package's own. Any other variable with a cluster axis is relabelled too.

# %%
aligned = bayesgmm.relabel(trace, geyser)
own_prior = az.summary(aligned, var_names=["means", "weights", "centre"], round_to="none").astype(float)
own_prior[["mean", "sd", "ess_bulk", "r_hat"]].round(3)

# %% [markdown]
# ## Your own model, with a covariate
#
# The rows are in order of time. Let the weights of the next eruption's components depend on whether the previous
# eruption was short (under three minutes) or long. The components themselves, short and long eruptions with the waiting
# time after them, are the same in both situations: two likelihoods, one set of means and standard deviations.

# %%
following = geyser.iloc[1:].reset_index(drop=True)
was_long = geyser["eruptions"].to_numpy()[:-1] >= 3
situations = {"short": following[~was_long], "long": following[was_long]}
features = list(geyser.columns)
coords = {"before": list(situations), "cluster": range(2), "feature": features, "feature_bis": features}

with pm.Model(coords=coords) as depends:
    w = pm.Dirichlet("w", np.ones((2, 2)), dims=("before", "cluster"))
    mu = pm.Normal("mu", centre, 2 * spread, dims=("cluster", "feature"))
    sigma = pm.HalfNormal("sigma", spread, dims=("cluster", "feature"))
    covariances = sigma[:, :, None] * pt.eye(2) * sigma[:, None, :]
    for i, (before, rows) in enumerate(situations.items()):
        bayesgmm.MvNormalMixture(
            f"after_{before}", w[i], mu, covariances, covariance_type="diag", observed=rows.to_numpy()
        )
    share = was_long.mean()
    pm.Deterministic("overall", (1 - share) * w[0] + share * w[1], dims="cluster")
    trace_depends = pm.sample(1000, **settings)

# %% [markdown]
# A mixture has one vector of weights, this model has two. For relabelling and diagnostics the package needs the mixture
# that describes all rows together, so the model also stores the overall weights. The two vectors `w` have a cluster
# axis too, and are permuted with everything else.

# %%
names = {"weights": "overall", "means": "mu", "sds": "sigma"}
second = bayesgmm.diagnose(trace_depends, following, names=names)
print(second)

# %%
raw = az.summary(trace_depends, var_names=["w", "mu"], round_to="none").astype(float)
relabelled = bayesgmm.relabel(trace_depends, following, names=names)
table = az.summary(relabelled, var_names=["w", "mu", "sigma"], round_to="none").astype(float)
print(f"largest R-hat: {raw['r_hat'].max():.2f} before relabelling, {table['r_hat'].max():.3f} after")
table[["mean", "sd", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat"]].round(3)

# %% [markdown]
# ## The ranger's answer
#
# Clusters are ordered by their first feature, so cluster 0 contains the short eruptions.

# %%
chance = relabelled.posterior["w"].sel(cluster=0)
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), layout="constrained", width_ratios=[1, 1.3])
for before in situations:
    left.hist(chance.sel(before=before).to_numpy().ravel(), bins=60, density=True)
    right.scatter(*situations[before].to_numpy().T, s=9, label=f"after a {before} eruption")
left.set(xlabel="probability that the next eruption is short", ylabel="posterior density", yticks=[], xlim=(0, 0.8))
right.set(xlabel="duration of the eruption, minutes", ylabel="wait until the next one, minutes")
figure.legend(loc="outside lower center", ncols=2, markerscale=2)
plt.show()
difference = chance.sel(before="long") - chance.sel(before="short")
low, high = np.quantile(difference, [0.055, 0.945])
for before in situations:
    print(f"probability of a short eruption after a {before} one: {float(chance.sel(before=before).mean()):.2f}")
print(f"difference {float(difference.mean()):.2f}, 89 % interval {low:.2f} to {high:.2f}")

# %% [markdown]
# Partitions work as well: each draw of the overall mixture gives labels, and the estimated partition is the one nearest
# to all of them.

# %%
labels = bayesgmm.sample_labels(relabelled, following, names=names, random_state=1)
best = bayesgmm.estimate_partition(labels, random_state=1)
print(f"{best.n_clusters} clusters, of {' and '.join(map(str, np.bincount(best.labels)))} eruptions")

# %% [markdown]
# ## Conclusions
#
# - **A short eruption is hardly ever followed by another one**; after a long one it is a coin toss. The mixture alone,
#   which treats rows as independent, cannot know that: check how your rows depend on their neighbours before you trust
#   error bars.
# - **To change a prior**, use `build_model(hyperpriors=...)`; **to change the structure**, use `MvNormalMixture` in a
#   model of your own. Keep one variable each for the weights, means and covariances of all rows together, and the rest
#   of this package works.
# - A covariate with few values becomes one likelihood for each value, as here, and each costs one compiled pass over
#   its rows. With a continuous covariate, give every row its own weights, (obs, cluster), or means, (obs, cluster,
#   feature): that costs one pass for each component.

# %%
assert {first.verdict, second.verdict}.isdisjoint({"several real modes", "divergences"})
assert own_prior["r_hat"].max() < 1.05
assert table["r_hat"].max() < 1.05
assert own_prior.loc["centre[waiting]", "sd"] > 5
assert own_prior.loc["means[0, waiting]", "mean"] < 60 < 75 < own_prior.loc["means[1, waiting]", "mean"]
assert float(chance.sel(before="short").mean()) < 0.15
assert 0.4 < float(chance.sel(before="long").mean()) < 0.65
assert low > 0.3
assert best.n_clusters == 2
