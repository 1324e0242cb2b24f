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
# Roeder (1990) lists the velocities at which 82 galaxies of the Corona Borealis region move away from us. Galaxies
# cluster in space, and velocity measures distance, so each component of a mixture would be a supercluster, and the gaps
# between them voids. How many are there? Published answers range from three to nine. Here we apply all criteria of the
# package to the same rows, and ask at the end where they disagree and why.

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayesgmm
from bayesgmm import BayesianGaussianMixture, Prior, style
from bayesgmm.datasets import load_galaxies
from bayesgmm.exceptions import ParetoWarning, SamplingWarning

style.use()
X = load_galaxies() / 1000  # 1,000 km/s
figure, ax = plt.subplots(figsize=(7.4, 2.6), layout="constrained")
ax.hist(X["velocity_kms"], bins=40, color=style.GREY)
ax.plot(X["velocity_kms"], np.zeros(len(X)), "|", color=style.INK, ms=12)
ax.set(xlabel="velocity, 1,000 km/s", ylabel="galaxies")
plt.show()

# %% [markdown]
# ## Information criteria from EM
#
# Two families: a variance for each component (mclust's V, `"full"`), or one for all (E, `"tied"`). The table also shows
# how often the best optimum was reached: a criterion is only as good as the optimum at which it is computed.

# %%
by_em = bayesgmm.select_components(X, range(1, 9), ["full", "tied"], random_state=1, progress=False)
print(by_em)
by_em.table[["log_likelihood", "bic", "aic", "icl", "n_best_reached", "n_degenerate", "note"]].round(1)

# %%
by_em.plot(["bic", "aic", "icl"])

# %% [markdown]
# ## The evidence, under an explicit prior
#
# BIC approximates the log evidence of a model without reference to a prior. The evidence itself needs one; that of
# Richardson & Green (1997) was designed for data like these: means anywhere in the range, and variances whose common
# scale is unknown too. The evidence of every fit is computed by bridge sampling and, as a check, by a second method
# (THAMES) that has nothing but the draws in common with the first.

# %%
prior = Prior.richardson_green(X)
settings = {"draws": 2000, "random_state": 1, "progress": False}
fits, evidences, verdicts = {}, {}, {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdicts stand in the table
    for k in range(1, 8):
        fits[k] = BayesianGaussianMixture(k, prior=prior, **settings).fit(X)
        evidences[k] = bayesgmm.log_evidence(fits[k], random_state=1)
        verdicts[k] = fits[k].diagnose().verdict

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
# The verdicts concern the components of each fit. With four or more, chains move between different ways of dividing the
# middle hump, and labels switch: do not quote the mean of a component there. The evidence is an average over the whole
# posterior and does not depend on labels, and the two methods agree on it.
#
# If every number of components is equally probable a priori, evidences become probabilities:

# %%
average = bayesgmm.average_models({f"K={k}": fit for k, fit in fits.items()}, evidences=list(evidences.values()))
average.table.round(3)

# %% [markdown]
# No single K stands out. What does not depend on K can be averaged over it: the density, and which galaxies belong
# together.

# %%
grid = pd.DataFrame({"velocity_kms": np.linspace(8, 36, 400)})
similarity = average.similarity_matrix(random_state=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained", width_ratios=[1.5, 1])
left.hist(X["velocity_kms"], bins=40, density=True, color=style.GREY, label="galaxies")
average_density, em_density = (np.exp(model.score_samples(grid)) for model in (average, by_em.best))
left.plot(grid["velocity_kms"], average_density, color=style.POSTERIOR, label="posterior, averaged over K")
left.plot(grid["velocity_kms"], em_density, "--", color=style.EM, label="EM, K chosen by BIC")
left.set(xlabel="velocity, 1,000 km/s", ylabel="density")
order = np.argsort(X["velocity_kms"])
shown = right.imshow(np.asarray(similarity)[np.ix_(order, order)], vmin=0, vmax=1)
right.set(xlabel="galaxies, by velocity", ylabel="galaxies, by velocity")
figure.colorbar(shown, ax=right, shrink=0.8, label="probability of the same component")
figure.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# ## Prediction: leave one galaxy out
#
# Which model gives the highest density to a galaxy that it has not seen? `az.compare` lists the differences with their
# standard errors.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdicts are in the table above
    warnings.simplefilter("ignore", ParetoWarning)  # counted in the table below
    left_out = {f"K={k}": fit.loo(moment_match=True) for k, fit in fits.items()}
by_loo = az.compare(left_out, round_to="none")[["rank", "elpd", "p", "elpd_diff", "dse"]].astype(float)
by_loo["rows with a large k"] = [int((left_out[name].pareto_k > 0.7).sum()) for name in by_loo.index]
by_loo.round(1)

# %% [markdown]
# From three components on, the differences are smaller than twice their standard errors: prediction cannot distinguish
# these models, and superfluous components do not make it worse.
#
# ## More components than needed
#
# Under a sparse prior components may stay empty: take ten, and ask how many have galaxies in them. This is another
# question again: a concentration of 0.01 states a priori that few components are used.

# %%
few = Prior.richardson_green(X, concentration=0.01)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)
    sparse = BayesianGaussianMixture(10, prior=few, **settings).fit(X)
occupied = bayesgmm.occupied_clusters(sparse, random_state=1)
print(f"share of draws in which the number changes, by chain: {occupied['change_rate'].to_numpy().round(2)}")
by_occupation = occupied[["probability", "mcse"]].to_dataframe()
by_occupation.query("probability > 0").round(3)

# %% [markdown]
# ## Side by side

# %%
pd.set_option("display.max_colwidth", 100)
close = by_loo.index[1:][by_loo["elpd_diff"].abs()[1:] < 2 * by_loo["dse"][1:]]
choices = {
    "BIC: which model is most probable, approximately": f"{by_em.winner_by('bic').n_components}",
    "ICL: which clusters can be told apart": f"{by_em.winner_by('icl').n_components}",
    "AIC: which model predicts best, approximately": f"{by_em.winner_by('aic').n_components}, of equal variance",
    "evidence: which model is most probable, under Richardson & Green's prior": (
        f"{by_evidence['log_evidence'].idxmax()}; "
        + ", ".join(f"{k}" for k, p in zip(fits, average.table["probability"], strict=True) if p > 0.1)
        + " have more than 10 %"
    ),
    "leave-one-out: which model predicts best": f"{by_loo.index[0]}; not distinguishable: {', '.join(close)}",
    "sparse mixture: how many components are occupied": f"{by_occupation['probability'].idxmax()}",
}
pd.Series(choices, name="number of components").to_frame()

# %% [markdown]
# ## Conclusions
#
# - **The criteria disagree because they answer different questions.** Three components is the smallest number that
#   describes the data: a few galaxies at 10, a few at 33, and one broad hump. Whether the hump is one supercluster or
#   two to five cannot be decided from 82 galaxies, and the evidence, which is nearly the same from four to seven, says
#   so.
# - **A prior is part of the question.** With the same prior on means and variances, sparse weights give three occupied
#   components, and equal prior probabilities of K give four to seven: where the data do not decide, the prior does.
# - **Report what is certain.** Two small clusters, and gaps at 12 and 29, appear whatever K is. For the rest, average
#   over K, or state the question first and use the criterion that answers it.

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
