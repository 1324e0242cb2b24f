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
# # Label switching: the disease of hand-written mixtures, and its cure
#
# A mixture does not know which component is the first. Its posterior holds every clustering once for each way of
# numbering the clusters, and each chain picks a numbering of its own. Then averages over chains mix up the
# components: means come out in the middle of nowhere, and R-hat says that nothing has converged. Nothing is wrong
# with the sampling, only with the names.
#
# First a model as most people write it, in PyMC: waiting times between eruptions of Old Faithful, two components.

# %%
import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm

import bayesgmm
from bayesgmm.datasets import load_old_faithful

waiting = load_old_faithful()["waiting"].to_numpy()

with pm.Model():
    w = pm.Dirichlet("w", np.ones(2))
    mu = pm.Normal("mu", 70, 20, shape=2)
    sigma = pm.HalfNormal("sigma", 20, shape=2)
    pm.NormalMixture("y", w, mu, sigma, observed=waiting)
    trace = pm.sample(1000, tune=1000, chains=4, random_seed=6, progressbar=False)

# %% [markdown]
# ## The disease
#
# Four chains of a well-behaved posterior of two clear clusters. The summary is useless:

# %%
sick = az.summary(trace, var_names=["w", "mu", "sigma"], round_to="none")
sick[["mean", "sd", "ess_bulk", "r_hat"]].astype(float).round(2)


# %%
def plot_means(means):
    """Both component means over the draws of all chains laid end to end."""
    figure, ax = plt.subplots(figsize=(7, 2.5), layout="constrained")
    ax.plot(means.to_numpy().reshape(-1, 2), lw=0.4, label=["mu[0]", "mu[1]"])
    ax.set(xlabel="draws of the four chains, end to end", ylabel="minutes")
    ax.legend(loc="center right")
    plt.close(figure)
    return figure


plot_means(trace.posterior["mu"])

# %% [markdown]
# In two chains component 0 is the short wait, in the other two the long one. The verdict
# says so in words, because `diagnose` looks first at what does not depend on labels.

# %%
X, names = waiting.reshape(-1, 1), {"weights": "w", "means": "mu", "sds": "sigma"}
verdict = bayesgmm.diagnose(trace, X, names=names)
print(verdict)

# %% [markdown]
# ## The cure: three lines
#
# Say what the variables are called; relabel; look again. Nothing is sampled anew: each draw keeps its numbers and
# gets the labels under which its membership probabilities agree best with those of all other draws (Stephens 2000).

# %%
names = {"weights": "w", "means": "mu", "sds": "sigma"}
healthy = bayesgmm.relabel(trace, X, names=names)
cured = az.summary(healthy, var_names=["w", "mu", "sigma"], round_to="none")

cured[["mean", "sd", "ess_bulk", "r_hat"]].astype(float).round(3)

# %%
plot_means(healthy.posterior["mu"])

# %% [markdown]
# ## Can the relabelling be believed?
#
# Seven methods are on offer. Where components are well apart all agree on every draw. The record says in how
# many draws another permutation would have been nearly as good, and whether the components can be told apart at
# all; where they cannot, `component_summary` refuses to print averages that mean nothing.

# %%
from bayesgmm.label_switching import relabelling

agreement = bayesgmm.compare_relabellings(trace, X, names=names)
print(relabelling(healthy))
agreement

# %% [markdown]
# The permutations are kept, so that it can be undone, to the last bit:

# %%
undone = bayesgmm.restore_labels(healthy)
np.array_equal(undone.posterior["mu"], trace.posterior["mu"])

# %% [markdown]
# ## What needs no labels at all
#
# Which eruptions belong together does not depend on numbering. The similarity matrix holds the probability for each
# pair; the estimated partition is the one nearest to all draws in variation of information, and the credible ball
# says how far from it the posterior reaches.

# %%
similarity = bayesgmm.plot_similarity(trace, X, names=names)

# %%
labels = bayesgmm.sample_labels(trace, X, names=names, random_state=1)
best = bayesgmm.estimate_partition(labels, random_state=1)
ball = bayesgmm.credible_ball(best, labels)
print(f"{best.n_clusters} clusters of {np.bincount(best.labels).tolist()} eruptions")
print(f"95 % of the posterior lies within {ball.radius:.2f} bits of it")

# %% [markdown]
# ## In one line from the start
#
# `BayesianGaussianMixture` starts its chains from one labelling, aligns every draw, looks for other modes first
# and warns when something is wrong.

# %%
fit = bayesgmm.BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
print(bayesgmm.diagnose(fit).verdict)
fit.summary()[["mean", "sd", "r_hat"]].round(3)

# %% [markdown]
# ## What to take away
#
# - R-hat far above 1 in a mixture may mean no more than switched labels: look at invariant quantities first.
# - Relabel before you average. It takes seconds and does not touch the draws.
# - Where the record says that components are not identified, report what needs no labels: density, co-clustering,
#   the partition and its ball.

# %%
assert sick["r_hat"].astype(float).max() > 1.5
assert cured["r_hat"].astype(float).max() < 1.01
assert verdict.verdict == "converged, labels switched"
assert relabelling(healthy).identified
assert (agreement.to_numpy() > 0.99).all()
assert np.array_equal(undone.posterior["mu"], trace.posterior["mu"])
assert best.n_clusters == 2
shift = np.sort(fit.means_.ravel()) - np.sort(cured.loc[["mu[0]", "mu[1]"], "mean"].astype(float))
assert np.abs(shift).max() < 0.5
