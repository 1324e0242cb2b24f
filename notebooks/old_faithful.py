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
# # Old Faithful: two clusters with honest error bars
#
# The geyser Old Faithful erupts in two ways: short eruptions after a short wait, long ones after a long wait.
# We fit two Gaussian components by EM, which gives one best answer, and by NUTS, which says how sure that
# answer is. Then we ask what the difference is good for.

# %%
import arviz as az
import matplotlib.pyplot as plt
import numpy as np

from bayesgmm import BayesianGaussianMixture, GaussianMixture, plot_clusters
from bayesgmm.datasets import load_old_faithful

X = load_old_faithful()
X.describe().round(2)

# %% [markdown]
# ## EM: one best answer
#
# `GaussianMixture` takes scikit-learn's parameters. It makes starts until they agree and records how often
# the best optimum was reached: here every time, so it is most likely the best there is.

# %%
em = GaussianMixture(2, random_state=1).fit(X)
print(f"log-likelihood {em.log_likelihood_:.3f}, BIC {em.bic(X):.1f}")
print(f"{em.starts_.n_best_reached} of {em.starts_.n_starts} starts reached it")
em.means_.round(2)

# %% [markdown]
# ## NUTS: the posterior
#
# The same model with a weakly informative prior, scaled by the data: four chains of 1,000 draws. The table sets
# EM's estimate beside the posterior mean, its standard deviation and an 89 % interval, ArviZ's default.

# %%
bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
table = bayes.summary()
table.round(3)

# %% [markdown]
# The two agree: every EM estimate lies within one posterior standard deviation of the posterior mean. That is what
# one expects of 272 rows and two clusters that hardly overlap. What EM cannot say is the width: the weight of the
# short eruptions is uncertain by about three percentage points, their variances by about a sixth.

# %%
figure = plot_clusters(bayes, X, em=em.mixture_)
figure

# %% [markdown]
# ## The posterior is an ordinary DataTree
#
# Every ArviZ function works on it as it stands. First whether the chains can be believed.

# %%
posterior = bayes.posterior_
diagnostics = az.summary(posterior, var_names=["weights", "means"], round_to="none")
diagnostics[["mean", "sd", "ess_bulk", "r_hat"]].round(3)

# %%
az.plot_trace(posterior, var_names=["means"], coords={"feature": ["eruptions"]})
plt.show()

# %% [markdown]
# ## Who belongs where, and how sure is that?
#
# `membership` gives each eruption's probability of being a long one, with an interval. Nearly all are clear. A few
# lie between the clusters; there the interval says how much of the doubt comes from not knowing the clusters
# exactly.

# %%
membership = bayes.membership().sel(cluster=1)
doubt = 1 - np.abs(2 * membership["mean"] - 1)
least_clear = doubt.argsort().to_numpy()[::-1][:5]
shown = X.iloc[least_clear].copy()
shown["P(long)"] = membership["mean"].to_numpy()[least_clear]
shown[["lower", "upper"]] = membership["ci"].to_numpy()[least_clear]
shown.round(2)

# %% [markdown]
# ## The model behind it
#
# `bayes.model` is an ordinary PyMC model; it can be read, extended and sampled by PyMC. The posterior above was
# drawn by compiled code that computes the same density; the tests hold the two equal.

# %%
bayes.model

# %% [markdown]
# ## To take away
#
# - About 36 % of eruptions are short (89 % interval 31 % to 40 %). They last about 2.0 minutes after a wait of 54;
#   long ones last 4.3 minutes after a wait of 80.
# - EM and NUTS agree on these data; NUTS adds the error bars.
# - Fewer than one eruption in twenty is hard to assign.

# %%
em_rows = table["em"].to_numpy()
assert np.all(np.abs(em_rows - table["mean"]) < table["sd"])
assert em.log_likelihood_ > -1130.264 - 1e-3
assert diagnostics["r_hat"].max() < 1.01
assert int(posterior["sample_stats"]["diverging"].sum()) == 0
assert float((doubt > 0.1).mean()) < 0.05
