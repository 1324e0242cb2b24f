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
# # Your own prior, your own covariate: extending the PyMC model
#
# `BayesianGaussianMixture` fits one kind of model. Two doors lead out of it. `build_model` returns that model as an
# ordinary PyMC model, in which any hyperparameter can be made random. `MvNormalMixture` is the mixture alone, a PyMC
# distribution for a model of your own. In both cases PyMC samples, and the rest of this package, relabelling,
# diagnosis, partitions, works on what comes out.
#
# Both doors are opened here on Old Faithful. The second one answers a ranger's question: does the length of this
# eruption say anything about the next one?

# %%
import logging

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm
import pytensor.tensor as pt

import bayesgmm
from bayesgmm.datasets import load_old_faithful

logging.getLogger("pymc").setLevel(logging.ERROR)  # its warnings about R-hat do not know of switched labels
geyser = load_old_faithful()
settings = {"tune": 1000, "chains": 4, "random_seed": 1, "progressbar": False}

# %% [markdown]
# ## The first door: a prior of one's own
#
# The default prior puts the components' means around the mean of the data. Suppose that we would rather have the
# centre found by the model: a hyperprior, one line, takes the place of a number. It is a function that is called
# inside the model and returns what stands there, here one centre for both components.

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
# PyMC does not know that component 0 may be called component 1; the verdict does. Relabelling needs no names here,
# because `build_model` uses the package's own. What else has a cluster axis is relabelled along.

# %%
aligned = bayesgmm.relabel(trace, geyser)
own_prior = az.summary(aligned, var_names=["means", "weights", "centre"], round_to="none").astype(float)
own_prior[["mean", "sd", "ess_bulk", "r_hat"]].round(3)

# %% [markdown]
# ## The second door: a model of one's own, with a covariate
#
# Rows of the data follow each other in time. Let the weights of the next eruption's components depend on whether the
# eruption before was short (under three minutes) or long. The components themselves, short and long eruptions with
# the waiting time after them, are shared by both situations: two likelihoods, one set of means and standard
# deviations.

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
# A mixture has one vector of weights, this model two. What the package needs to relabel and to diagnose is the
# mixture that describes all rows together, so the model keeps the overall weights beside them. The two vectors `w`
# have the cluster axis too and are permuted with everything else.

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
# Clusters are in the order of their first feature, so cluster 0 are the short eruptions.

# %%
chance = relabelled.posterior["w"].sel(cluster=0)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=[1, 1.3])
for before, colour in zip(situations, ["C1", "C0"], strict=True):
    left.hist(chance.sel(before=before).to_numpy().ravel(), bins=60, color=colour, density=True)
    right.scatter(*situations[before].to_numpy().T, s=9, color=colour, label=f"after a {before} one")
left.set(xlabel="probability that the next one is short", yticks=[], xlim=(0, 0.8))
right.set(xlabel="eruption, min", ylabel="waiting, min")
right.legend()
plt.close(figure)
difference = chance.sel(before="long") - chance.sel(before="short")
low, high = np.quantile(difference, [0.055, 0.945])
print(", ".join(f"after a {before} one: {float(chance.sel(before=before).mean()):.0%}" for before in situations))
print(f"difference {float(difference.mean()):.2f}, 89 % interval {low:.2f} to {high:.2f}")
figure

# %% [markdown]
# Partitions work as well: each draw of the overall mixture gives labels, and the estimate is the one nearest to all.

# %%
labels = bayesgmm.sample_labels(relabelled, following, names=names, random_state=1)
best = bayesgmm.estimate_partition(labels, random_state=1)
print(f"{best.n_clusters} clusters of {np.bincount(best.labels).tolist()} eruptions")

# %% [markdown]
# ## What to take away
#
# - **A short eruption is hardly ever followed by another one**; after a long one it is a coin's toss. The mixture
#   alone, which takes rows for independent, cannot know that: look for what your rows have in common with their
#   neighbours before you trust error bars.
# - **To change a prior**, `build_model(hyperpriors=...)`; **to change the structure**, `MvNormalMixture` in a model
#   of your own. Keep one variable for weights, means and covariances of the whole, and everything else of this
#   package works.
# - A covariate with few values becomes one likelihood for each, as here, and each costs one compiled pass over its
#   rows. With a continuous one give every row its own weights, (obs, cluster), or means, (obs, cluster, feature): that
#   costs a pass for each component.

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
