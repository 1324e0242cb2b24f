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
# # EM or MCMC? Where they agree and where they do not
#
# EM finds a maximum of the likelihood in milliseconds. MCMC samples the whole posterior in seconds. Often they give the
# same answer, and then EM is enough. This notebook shows, on three data sets, when that is so, what goes wrong when it
# is not, and how to tell without knowing the answer: `compare` sets the two side by side, parameter by parameter, and
# says why they differ.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import gaussian_kde, norm

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior, style
from bayesgmm.datasets import load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.exceptions import SamplingWarning

style.use()
settings = {"random_state": 1, "progress": False}

# %% [markdown]
# ## Where they agree: many rows per parameter, well-separated clusters
#
# 272 eruptions of Old Faithful, two clusters far from each other.

# %%
geyser = load_old_faithful()
easy = bayesgmm.compare(
    GaussianMixture(2, random_state=1).fit(geyser), BayesianGaussianMixture(2, **settings).fit(geyser), **settings
)
print(easy)

# %% [markdown]
# An EM estimate has two kinds of standard error. One comes from the curvature of the log-likelihood at its maximum (the
# observed information; Louis 1982) and costs one pass over the rows. The other refits the model to resampled rows (the
# bootstrap) and assumes neither that the log-likelihood is quadratic nor that the data are a mixture of Gaussians.
# Beside them stands the standard deviation of the posterior:

# %%
errors = easy.parameters[["em", "em_se", "em_boot_se", "bayes", "bayes_sd"]]
errors.round(3)

# %%
easy.plot()

# %% [markdown]
# Three answers to the same question, and they agree: for these rows, EM with standard errors is all one needs.
#
# ## Where they disagree: a small component
#
# Five laboratory values of 215 patients, three components: normal, overactive and underactive thyroid. The smaller
# two have some thirty patients each, from which twenty means, variances and covariances must be estimated.

# %%
thyroid = load_thyroid().drop(columns="Diagnosis")
em = GaussianMixture(3, random_state=1).fit(thyroid)
bayes = BayesianGaussianMixture(3, **settings).fit(thyroid)
small = bayesgmm.compare(em, bayes, **settings)
print(small)

# %%
worst = small.flagged.head(8)
worst[["em", "em_lb", "em_ub", "em_boot_lb", "em_boot_ub", "bayes", "bayes_lb", "bayes_ub", "why"]].round(3)

# %% [markdown]
# Most of the disagreements are variances and covariances of components with few patients. Their posterior is skewed:
# a variance may well be much larger than the estimate, but not much smaller. The EM estimate is near the mode, the
# posterior mean is drawn towards the long tail. And with so few rows the prior matters: it makes variances as small as
# EM's unlikely.


# %%
def draws_of(fit, cluster, feature):
    """Posterior draws of a variance."""
    covariances = fit.idata["posterior"]["covariances"]
    return covariances.sel(cluster=cluster, feature=feature, feature_bis=feature).to_numpy().ravel()


in_posterior = small.components.set_index("em")["bayes"]
figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.8), layout="constrained")
for ax, (k, feature) in zip(axes, [(0, "DTSH"), (0, "TSH")], strict=True):
    draws = draws_of(bayes, in_posterior[k], feature)
    row = small.parameters.loc[f"covariances[{k}, {feature}, {feature}]"]
    grid = np.linspace(0, np.quantile(draws, 0.995), 300)
    ax.plot(grid, gaussian_kde(draws)(grid), color=style.POSTERIOR, label="posterior")
    ax.plot(grid, norm.pdf(grid, row["em"], row["em_se"]), "--", color=style.EM, label="EM with its standard error")
    ax.set(xlabel=f"variance of {feature} in component {k}", yticks=[], ylim=(0, None))
axes[0].set(ylabel="density")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# Does it matter? Few patients change their cluster, and new patients are predicted about equally well:

# %%
print(f"Log predictive density of rows left out, posterior minus EM: {small.elpd_difference:+.1f}", end=" ")
print(f"(standard error {small.elpd_difference_se:.1f})")
small.partitions.cross_table.astype(int)

# %% [markdown]
# So it depends on the question. For "who is ill?", either will do. For "how much do DTSH and TSH vary among patients of
# this kind?", the two differ, and EM's error bars are shorter than the posterior's.
#
# Is the number of patients really the reason? Count each of them four times, under the same prior, and compare again:

# %%
fourfold = pd.concat([thyroid] * 4, ignore_index=True)
prior = Prior.weakly_informative(thyroid)
many = bayesgmm.compare(
    GaussianMixture(3, random_state=1).fit(fourfold),
    BayesianGaussianMixture(3, prior=prior, **settings).fit(fourfold),
    bootstrap=0,
    **settings,
)
print(f"parameters that disagree: {len(small.flagged)} of {len(small.parameters)} before, {len(many.flagged)} now")

# %% [markdown]
# ## Where EM has to choose: several optima
#
# Velocities of 82 galaxies, four components. EM runs from many starting points and keeps the best optimum; these are
# the optima found.

# %%
galaxies = load_galaxies() / 1000
em_four = GaussianMixture(4, random_state=1).fit(galaxies)
optima = em_four.starts_.optimum_objectives
print(f"log-likelihoods of the optima found: {optima.round(2).tolist()}")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SamplingWarning)  # the verdict is printed
    four = BayesianGaussianMixture(4, prior=Prior.richardson_green(galaxies), target_accept=0.95, **settings)
    four.fit(galaxies)
print(four)

# %%
grid = np.linspace(8, 36, 400)
figure, ax = plt.subplots(figsize=(7.4, 3.2), layout="constrained")
bayesgmm.plot_density(four, ax=ax)
ax.plot([], [], color=style.POSTERIOR, label="posterior mean, 89 % band")
for optimum, objective, dashes in zip(em_four.starts_.optima[:2], optima, ["--", ":"], strict=False):
    density = np.exp(optimum.log_prob(grid[:, None]))
    ax.plot(grid, density, dashes, color=style.EM, label=f"EM, log-likelihood {objective:.1f}")
ax.set(xlabel="velocity, 1,000 km/s", ylabel="density", title="", xlim=(8, 36))
figure.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Two optima lie within two units of log-likelihood. They describe the middle hump differently, and only the higher one
# has a narrow component at 33. EM reports that one, with standard errors as if the other did not exist. The posterior
# spreads over several ways of dividing the galaxies, and its verdict warns against quoting the mean of any one
# component. The density can be quoted.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some refits without a row collapse: the comparison counts them
    several = bayesgmm.compare(em_four, four, bootstrap=0, **settings)
print(several)

# %% [markdown]
# ## Conclusions
#
# | | EM | MCMC |
# |---|---|---|
# | many rows per parameter, well-separated clusters | enough, with `standard_errors` | same answer |
# | a component with few rows | small variances, short and symmetric error bars | skewed; the prior matters |
# | several optima | reports one | spreads over them, and warns that components are not identified |
#
# - Start with EM: it costs little, and its starts show whether there are several optima.
# - Then `compare`: where nothing is flagged, quote either. Where something is flagged, it says why; quote the posterior
#   together with its prior.
# - That bootstrap and curvature agree is no evidence that their standard errors are right: for the variances of the
#   small thyroid components they do agree, and both are much shorter than the posterior's.

# %%
assert not easy.flagged.size
np.testing.assert_allclose(errors["em_se"], errors["bayes_sd"], rtol=0.2)
assert easy.partitions.ari > 0.99
assert len(small.flagged) >= 6
assert small.flagged["why"].str.contains("small component").mean() > 0.5
assert small.partitions.ari > 0.9
assert abs(small.elpd_difference) < 2 * small.elpd_difference_se
assert len(many.flagged) < len(small.flagged)
assert optima[0] - optima[1] < 2
