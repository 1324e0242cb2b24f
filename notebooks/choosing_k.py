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
# # How many components? Galaxies, by every criterion
#
# Roeder (1990) measured how fast 82 galaxies of the Corona Borealis region move away from us. Galaxies cluster in
# space, and velocity stands for distance, so each component of a mixture would be a supercluster, and gaps between
# them voids. How many are there? Papers have answered everything from three to nine. Here all criteria of the
# package look at the same rows, and at the end we ask where they disagree, and why.

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm
from bayesgmm import BayesianGaussianMixture, Prior
from bayesgmm.datasets import load_galaxies
from bayesgmm.exceptions import ParetoWarning, SamplingWarning

X = load_galaxies() / 1000  # 1,000 km/s
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.hist(X["velocity_kms"], bins=40, color="0.8")
ax.plot(X["velocity_kms"], np.zeros(len(X)), "|", color="k", ms=12)
ax.set(xlabel="velocity, 1,000 km/s", ylabel="galaxies")
plt.close(figure)
figure

# %% [markdown]
# ## By EM, in a second
#
# Two families: a variance for each component (mclust's V, `"full"`), or one for all (E, `"tied"`). The columns say
# how often the best optimum was reached: a criterion is only as good as the optimum that it is computed at.

# %%
by_em = bayesgmm.select_components(X, range(1, 9), ["full", "tied"], random_state=1, progress=False)
print(by_em)
by_em.table[["log_likelihood", "bic", "aic", "icl", "n_best_reached", "n_degenerate", "note"]].round(1)

# %%
by_em.plot(["bic", "aic", "icl"])

# %% [markdown]
# ## The evidence, under a prior that is written down
#
# BIC stands in for the log evidence of a model, whatever its prior. The evidence itself needs a prior; the one of
# Richardson & Green (1997) was made for data like these: means anywhere in the range, variances whose common scale
# is unknown too. Every fit gets its evidence by bridge sampling and, as a check, by a second method (THAMES) that
# shares nothing with it but the draws.

# %%
prior = Prior.richardson_green(X)
settings = {"draws": 2000, "random_state": 1, "progress": False}
fits, evidences, verdicts = {}, {}, {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdicts stand in the table
    for k in range(1, 8):
        fits[k] = BayesianGaussianMixture(k, prior=prior, **settings).fit(X)
        evidences[k] = bayesgmm.log_evidence(fits[k], random_state=1)
        verdicts[k] = bayesgmm.diagnose(fits[k]).verdict

by_evidence = pd.DataFrame(
    {
        "log_evidence": [e.log_evidence for e in evidences.values()],
        "se": [e.se for e in evidences.values()],
        "thames": [e.thames.log_evidence for e in evidences.values()],
        "thames_se": [e.thames.se for e in evidences.values()],
        "verdict": list(verdicts.values()),
    },
    index=pd.Index(fits, name="K"),
)
by_evidence.round(2)

# %% [markdown]
# The verdicts are about the components of each fit. With four or more, chains go from one way of dividing the middle
# hump to the next, and labels switch: do not quote a component's mean there. The evidence needs less, an average over
# the whole posterior, and two methods agree on it.
#
# With every number of components equally likely beforehand, evidences become probabilities:

# %%
average = bayesgmm.average_models({f"K={k}": fit for k, fit in fits.items()}, evidences=list(evidences.values()))
average.table.round(3)

# %% [markdown]
# No single K carries the day. What does not depend on K can be averaged over it: the density, and which galaxies
# belong together.

# %%
grid = pd.DataFrame({"velocity_kms": np.linspace(8, 36, 400)})
similarity = average.similarity_matrix(random_state=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=[1.6, 1])
left.hist(X["velocity_kms"], bins=40, density=True, color="0.85")
left.plot(grid["velocity_kms"], np.exp(average.score_samples(grid)), label="averaged over K")
left.plot(grid["velocity_kms"], np.exp(by_em.best.score_samples(grid)), "--", label="EM, chosen by BIC")
left.set(xlabel="velocity, 1,000 km/s", ylabel="density")
left.legend()
order = np.argsort(X["velocity_kms"])
shown = right.imshow(np.asarray(similarity)[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=1)
right.set(xlabel="galaxies, by velocity", title="same component, probability")
figure.colorbar(shown, ax=right)
plt.close(figure)
figure

# %% [markdown]
# ## Prediction: leave one galaxy out
#
# Which model gives the highest density to a galaxy that it has not seen? `az.compare` puts the differences beside
# their errors.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # said above
    warnings.simplefilter("ignore", ParetoWarning)  # counted in the table
    left_out = {f"K={k}": bayesgmm.loo(fit, moment_match=True) for k, fit in fits.items()}
by_loo = az.compare(left_out, round_to="none")[["rank", "elpd", "p", "elpd_diff", "dse"]].astype(float)
by_loo["rows with a large k"] = [int((left_out[name].pareto_k > 0.7).sum()) for name in by_loo.index]
by_loo.round(1)

# %% [markdown]
# From three components on, the differences are smaller than twice their errors: prediction does not tell these
# models apart, and does not punish a component that does no harm.
#
# ## Components too many on purpose
#
# A sparse prior lets components stay empty: take ten, and ask how many have galaxies in them. It asks another
# question: a concentration of 0.01 says beforehand that few components are used.

# %%
few = Prior.richardson_green(X, concentration=0.01)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)
    sparse = BayesianGaussianMixture(10, prior=few, **settings).fit(X)
occupied = bayesgmm.occupied_clusters(sparse, random_state=1)
print(f"share of steps that change the number, by chain: {occupied['change_rate'].to_numpy().round(2)}")
by_occupation = occupied[["probability", "mcse"]].to_dataframe()
by_occupation.query("probability > 0").round(3)

# %% [markdown]
# ## Side by side

# %%
pd.set_option("display.max_colwidth", 100)
close = by_loo.index[1:][by_loo["elpd_diff"].abs()[1:] < 2 * by_loo["dse"][1:]]
choices = {
    "BIC: which model, roughly": f"{by_em.winner_by('bic').n_components}",
    "ICL: which clusters can be told apart": f"{by_em.winner_by('icl').n_components}",
    "AIC: which model predicts, roughly": f"{by_em.winner_by('aic').n_components}, of equal variance",
    "evidence: which model, under Richardson & Green's prior": (
        f"{by_evidence['log_evidence'].idxmax()}, and "
        + ", ".join(f"{k}" for k, p in zip(fits, average.table["probability"], strict=True) if p > 0.1)
        + " above 10 %"
    ),
    "leave-one-out: which model predicts": f"{by_loo.index[0]}; not told apart: {', '.join(close)}",
    "sparse mixture: how many are occupied": f"{by_occupation['probability'].idxmax()}",
}
pd.Series(choices, name="number of components").to_frame()

# %% [markdown]
# ## What to take away
#
# - **They disagree, because they answer different questions.** Three components is the smallest number that
#   describes the data: few galaxies at 10, few at 33, one broad hump. Whether the hump is one supercluster or two to
#   five cannot be told from 82 galaxies, and the evidence, which hardly differs from four to seven, says just that.
# - **A prior is part of the question.** Under the same prior on means and variances, the sparse weights find three
#   occupied components, and equal prior probabilities of K find four to seven: the data leave room, and the prior
#   fills it.
# - **Report what is sure.** Two small clusters, and gaps at 12 and 29, come out the same whatever K is. For the rest,
#   average over K, or state the question first and use its criterion.

# %%
assert by_em.winner == ("full", 3)
np.testing.assert_allclose(by_evidence.loc[[2, 3], "log_evidence"], [-235.38, -226.94], atol=0.06)
apart = (by_evidence["log_evidence"] - by_evidence["thames"]).abs() / np.hypot(
    by_evidence["se"], by_evidence["thames_se"]
)
assert apart.max() < 4
assert average.table["probability"].max() < 0.5
assert average.table["probability"].iloc[3:].sum() > 0.8
assert by_occupation["probability"].idxmax() == 3
assert (occupied["change_rate"] > 0).all()
assert {f"K={k}" for k in range(3, 8)} <= {*close, by_loo.index[0]}
