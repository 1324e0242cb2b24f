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
# # Old Faithful: two clusters with error bars
#
# The geyser Old Faithful erupts in two ways: short eruptions, followed by a short wait, and long ones, followed by a
# long wait. We fit two Gaussian components, first by EM, which gives a single best estimate, and then by NUTS, which
# also says how certain that estimate is.

# %%
import arviz as az
import numpy as np

from bayesgmm import BayesianGaussianMixture, GaussianMixture, plot_mixing, style
from bayesgmm.datasets import load_old_faithful

style.use()
X = load_old_faithful()  # both columns in minutes
X.describe().round(2)

# %% [markdown]
# ## EM: a single best estimate
#
# `GaussianMixture` takes the same parameters as scikit-learn's. It runs EM from several starting points until they
# agree, and records how often the best optimum was reached: here every time, so it is most likely the global one.
# Printing a fit shows a summary.

# %%
em = GaussianMixture(2, random_state=1).fit(X)
print(f"log-likelihood {em.log_likelihood_:.3f}, BIC {em.bic(X):.1f}")
print(f"{em.starts_.n_best_reached} of {em.starts_.n_starts} starts reached it")
print(em)

# %% [markdown]
# ## NUTS: the posterior
#
# The same model with a weakly informative prior, scaled by the data: four chains of 1,000 draws.

# %%
bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
print(bayes)

# %% [markdown]
# The table of all parameters has EM's estimate (under the same prior) beside the posterior mean, the posterior
# standard deviation and an 89 % interval, ArviZ's default.

# %%
table = bayes.summary()
table[["em", "mean", "sd", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat"]].round(3)

# %% [markdown]
# The two agree: every EM estimate lies within one posterior standard deviation of the posterior mean, as expected for
# 272 rows and two clusters that hardly overlap. What the posterior adds is the uncertainty: the weight of the short
# eruptions has a standard deviation of about three percentage points, and their variances of about a sixth.

# %%
figure = bayes.plot(em=em)
figure.axes[0].set(xlabel="duration of the eruption, minutes", ylabel="wait until the next one, minutes")
figure

# %% [markdown]
# ## Diagnostics
#
# `diagnose` gives a verdict on the chains, and `plot_mixing` shows whether they agree in quantities that do not depend
# on labels. The posterior, `idata`, is an ordinary DataTree, so every ArviZ function works on it as well.

# %%
print(bayes.diagnose())

# %%
posterior = bayes.idata
diagnostics = az.summary(posterior, var_names=["weights", "means"], round_to="none")
diagnostics[["mean", "sd", "ess_bulk", "r_hat"]].round(3)

# %%
mixing = plot_mixing(bayes)

# %% [markdown]
# ## Which eruption belongs to which cluster?
#
# `membership` gives each eruption's probability of being a long one, with an interval. Nearly all are clear. A few
# lie between the clusters; for those, the interval shows how much the probability itself is uncertain because the
# parameters are.

# %%
membership = bayes.membership().sel(cluster=1)
ambiguity = 1 - np.abs(2 * membership["mean"] - 1)
most_ambiguous = ambiguity.argsort().to_numpy()[::-1][:5]
shown = X.iloc[most_ambiguous].copy()
shown["P(long)"] = membership["mean"].to_numpy()[most_ambiguous]
shown[["lower", "upper"]] = membership["ci"].to_numpy()[most_ambiguous]
shown.round(2)

# %% [markdown]
# ## The model behind it
#
# `bayes.model` is an ordinary PyMC model, which can be inspected, extended and sampled with PyMC. The draws above come
# from compiled code that computes the same density; the package's tests check that the two are equal.

# %%
bayes.model

# %% [markdown]
# ## Conclusions
#
# - About 36 % of eruptions are short (89 % interval 31 % to 40 %). They last about 2.0 minutes, with a wait of 54
#   minutes until the next one; long ones last 4.3 minutes, with a wait of 80.
# - EM and NUTS agree on these data; NUTS adds the error bars.
# - Fewer than one eruption in twenty is hard to assign.

# %%
em_rows = table["em"].to_numpy()
assert np.all(np.abs(em_rows - table["mean"]) < table["sd"])
assert em.log_likelihood_ > -1130.264 - 1e-3
assert diagnostics["r_hat"].max() < 1.01
assert int(posterior["sample_stats"]["diverging"].sum()) == 0
assert float((ambiguity > 0.1).mean()) < 0.05
