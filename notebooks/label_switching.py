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
# # Label switching: a common problem of hand-written mixtures, and its solution
#
# The numbering of a mixture's components is arbitrary. Its posterior contains every clustering once for each way of
# numbering the clusters, and each chain picks a numbering of its own. Averages over chains then mix up the components:
# means end up somewhere between the clusters, and R-hat says that nothing has converged. Nothing is wrong with the
# sampling, only with the labels.
#
# First a model as most people write it in PyMC: waiting times between eruptions of Old Faithful, two components.

# %%
import logging

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pymc as pm

import bayesgmm
from bayesgmm import style
from bayesgmm.datasets import load_old_faithful
from bayesgmm.label_switching import relabelling

style.use()
logging.getLogger("pymc").setLevel(logging.ERROR)  # its warnings about R-hat do not know about switched labels
waiting = load_old_faithful()["waiting"].to_numpy()

with pm.Model():
    w = pm.Dirichlet("w", np.ones(2))
    mu = pm.Normal("mu", 70, 20, shape=2)
    sigma = pm.HalfNormal("sigma", 20, shape=2)
    pm.NormalMixture("y", w, mu, sigma, observed=waiting)
    trace = pm.sample(1000, tune=1000, chains=4, random_seed=6, progressbar=False)

# %% [markdown]
# ## The problem
#
# Four chains of a well-behaved posterior with two clear clusters. The summary is useless:

# %%
switched = az.summary(trace, var_names=["w", "mu", "sigma"], round_to="none")
switched[["mean", "sd", "ess_bulk", "r_hat"]].astype(float).round(2)


# %%
def plot_means(means):
    """Both component means over the draws of all chains, one chain after the other."""
    figure, ax = plt.subplots(figsize=(7.4, 2.5), layout="constrained")
    ax.plot(means.to_numpy().reshape(-1, 2), lw=0.4, label=["mu[0]", "mu[1]"])
    ax.set(xlabel="draws of four chains, one chain after the other", ylabel="mean waiting time, minutes")
    for line in figure.legend(loc="outside right upper").get_lines():
        line.set_linewidth(2)
    plt.show()


plot_means(trace.posterior["mu"])

# %% [markdown]
# In some chains component 0 is the short wait, in the others the long one. The verdict says so, because `diagnose`
# first looks at quantities that do not depend on labels. It needs to know what the variables are called.

# %%
X, names = waiting.reshape(-1, 1), {"weights": "w", "means": "mu", "sds": "sigma"}
verdict = bayesgmm.diagnose(trace, X, names=names)
print(verdict)

# %% [markdown]
# ## The solution: one line
#
# `relabel` samples nothing anew: each draw keeps its values and gets the labels under which its membership
# probabilities agree best with those of all other draws (Stephens 2000).

# %%
relabelled = bayesgmm.relabel(trace, X, names=names)
summary = az.summary(relabelled, var_names=["w", "mu", "sigma"], round_to="none")
summary[["mean", "sd", "ess_bulk", "r_hat"]].astype(float).round(3)

# %%
plot_means(relabelled.posterior["mu"])

# %% [markdown]
# ## Can the relabelling be trusted?
#
# There are seven methods. Where components are well separated, all agree on every draw. A record says in what share of
# draws another permutation would have been nearly as good, and whether the components can be told apart at all; where
# they cannot, `component_summary` refuses to print meaningless averages.

# %%
record = relabelling(relabelled)
print(f"draws in which another permutation is nearly as good: {record.unclear_share:.1%}")
print(f"components identified: {'yes' if record.identified else 'no'}")
agreement = bayesgmm.compare_relabellings(trace, X, names=names)
agreement.round(3)

# %% [markdown]
# The permutations are kept, so that relabelling can be undone exactly:

# %%
undone = bayesgmm.restore_labels(relabelled)
np.array_equal(undone.posterior["mu"], trace.posterior["mu"])

# %% [markdown]
# ## What needs no labels
#
# Which eruptions belong together does not depend on the numbering. The similarity matrix holds this probability for
# each pair; the estimated partition is the one nearest to all draws in variation of information, and the credible ball
# says how far from it the posterior extends.

# %%
similarity = bayesgmm.plot_similarity(trace, X, names=names)

# %%
labels = bayesgmm.sample_labels(trace, X, names=names, random_state=1)
best = bayesgmm.estimate_partition(labels, random_state=1)
ball = bayesgmm.credible_ball(best, labels)
print(f"{best.n_clusters} clusters, of {' and '.join(map(str, np.bincount(best.labels)))} eruptions")
print(f"95 % of the posterior lies within {ball.radius:.2f} bits of this partition")

# %% [markdown]
# ## Without the problem
#
# `BayesianGaussianMixture` looks for other modes first, starts its chains with common labels, relabels every draw, and
# warns if something is wrong. `fit.match(previous)` gives a refit the numbers of an earlier fit.

# %%
fit = bayesgmm.BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful()[["waiting"]])
print(fit)

# %% [markdown]
# ## Conclusions
#
# - An R-hat far above 1 in a mixture may mean nothing but switched labels: look at invariant quantities first.
# - Relabel before you average. It takes seconds and does not change the draws.
# - Where the record says that components are not identified, report what needs no labels: the density, the similarity
#   matrix, the partition and its credible ball.

# %%
assert switched["r_hat"].astype(float).max() > 1.5
assert summary["r_hat"].astype(float).max() < 1.01
assert verdict.verdict == "converged, labels switched"
assert record.identified
assert (agreement.to_numpy() > 0.99).all()
assert np.array_equal(undone.posterior["mu"], trace.posterior["mu"])
assert best.n_clusters == 2
shift = np.sort(fit.means_.ravel()) - np.sort(summary.loc[["mu[0]", "mu[1]"], "mean"].astype(float))
assert np.abs(shift).max() < 0.5
