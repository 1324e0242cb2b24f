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
# # Cell populations in two blood samples
#
# A flow cytometer sends blood cells past lasers one by one and measures how brightly the markers on each cell
# fluoresce. Brinkman et al. (2007) looked for early signs of graft-versus-host disease, in which transplanted immune
# cells attack the patient: cells that carry CD3, CD4 and CD8b at the same time. Here are the cells of a patient who
# developed the disease (*positive*) and of one who did not (*control*). How large is that population in each, and how
# uncertain is its size?

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from scipy.stats import beta

from bayesgmm import BayesianGaussianMixture, GaussianMixture, style
from bayesgmm.datasets import load_gvhd
from bayesgmm.exceptions import SamplingWarning, SingleBestStartWarning

style.use()
cells = load_gvhd()
markers, wanted = ["CD4", "CD8b", "CD3", "CD8"], ["CD4", "CD8b", "CD3"]
samples = {name: part[markers] for name, part in cells.groupby("sample", observed=True)}

figure, axes = plt.subplots(2, 2, figsize=(7.4, 6), layout="constrained", sharex="row", sharey="row")
for row, (x, y) in zip(axes, [("CD4", "CD8b"), ("CD3", "CD8")], strict=True):
    for ax, (name, part) in zip(row, samples.items(), strict=True):
        shown = ax.hexbin(part[x], part[y], gridsize=50, norm=LogNorm(1, 60), cmap="viridis", mincnt=1)
        ax.set(xlabel=f"{x}, channel", ylabel=f"{y}, channel", title=f"{name}, {len(part):,} cells")
figure.colorbar(shown, ax=axes, label="cells per hexagon", shrink=0.5, extend="max")
plt.show()

# %% [markdown]
# ## Manual gating
#
# The traditional method is to draw a threshold for each marker, the *gate*, and to count. We call a cell positive above
# channel 240; since the choice matters, there are two more gates, with Jeffreys' 95 % intervals for the share. These
# intervals reflect sampling error alone, not the choice of the gate.

# %%
gates = (200, 240, 280)
by_gate = {}
for name, part in samples.items():
    for gate in gates:
        inside = int((part[wanted] > gate).all(axis=1).sum())
        low, high = beta.ppf([0.025, 0.975], inside + 0.5, len(part) - inside + 0.5)
        by_gate[name, gate] = {"cells": inside, "share": inside / len(part), "2.5 %": low, "97.5 %": high}
gated = pd.DataFrame(by_gate).T.astype({"cells": int})
gated.index.names = ["sample", "gate"]
gated.round(4)

# %% [markdown]
# ## Populations by EM, on all cells
#
# How many components? BIC keeps asking for more, as it does when populations are not Gaussian and there are many rows:
# a curved population is described by several components. So a component is not a population.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SingleBestStartWarning)  # many optima have nearly the same likelihood
    bic = pd.DataFrame(
        {
            name: {
                k: GaussianMixture(k, n_init=2, prior="weakly_informative", random_state=1).fit(part).bic()
                for k in (2, 4, 6, 8, 10)
            }
            for name, part in samples.items()
        }
    )
    K = 8
    by_em = {
        name: GaussianMixture(K, n_init=12, prior="weakly_informative", random_state=1).fit(part)
        for name, part in samples.items()
    }
bic.rename_axis("components").round(0)

# %% [markdown]
# We take eight, and let a population be a *set* of components: those whose mean is above the gate in all three
# markers. Its share is the sum of their weights. That needs no labels, so it can be computed for each bootstrap
# replicate and each posterior draw, whatever the numbering of components. Error bars come from the weighted likelihood
# bootstrap of all cells.


# %%
def share_of(weights, means, gate=240):
    """Sum of the weights of components above the gate in the three markers, for each replicate or draw."""
    return np.where((means[..., :3] > gate).all(axis=-1), weights, 0.0).sum(axis=-1)


bootstraps = {
    name: fit.bootstrap(samples[name], kind="weighted", n_replicates=100, progress=False) for name, fit in by_em.items()
}
shares = {(name, "EM, bootstrap"): share_of(b.weights, b.means) for name, b in bootstraps.items()}
tables = {
    name: pd.DataFrame(fit.means_, columns=markers).round(0).astype(int).assign(share=fit.weights_.round(3))
    for name, fit in by_em.items()
}
pd.concat(tables, axis=1)

# %% [markdown]
# ## The posterior, on 2,000 cells of each sample
#
# NUTS passes over all rows hundreds of thousands of times, so we give it 2,000 random cells of each sample. Its
# intervals are those of 2,000 cells, about twice as wide as those of all. Eight components that describe curved
# populations together do not mix well, and the verdict says so. But the share of the population is a single number,
# with an R-hat of its own. Where that is large as well, means of single chains show how far apart the modes put it:

# %%
posteriors, checked = {}, {}
for name, part in samples.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # the verdict stands in the table
        fit = BayesianGaussianMixture(K, draws=400, tune=300, n_init=12, random_state=1, progress=False)
        posteriors[name] = fit.fit(part.sample(2000, random_state=1))
    draws = fit.idata["posterior"]
    share = share_of(draws["weights"].to_numpy(), draws["means"].to_numpy())
    shares[name, "posterior, 2,000 cells"] = share.ravel()
    checked[name] = {
        "verdict": fit.diagnose().verdict,
        "R-hat of the share": float(az.rhat(share)),
        "ESS of the share": float(az.ess(share)),
        "lowest chain": share.mean(axis=1).min(),
        "highest chain": share.mean(axis=1).max(),
    }
pd.DataFrame(checked).T.infer_objects().round(3)

# %%
rows = {}
for name in samples:
    rows[name, "count above gate 240"] = gated.loc[(name, 240), ["share", "2.5 %", "97.5 %"]].to_dict()
    for method in ("EM, bootstrap", "posterior, 2,000 cells"):
        values = shares[name, method]
        low, high = np.quantile(values, [0.025, 0.975])
        middle = np.median(values)
        rows[name, method] = {"share": middle, "2.5 %": low, "97.5 %": high}
population = pd.DataFrame(rows).T
more = shares["positive", "EM, bootstrap"] - shares["control", "EM, bootstrap"]
low, high = np.quantile(more, [0.025, 0.975])
print(f"difference of the shares, positive minus control, by bootstrap: {np.median(more):.3f}", end=" ")
print(f"(95 % interval {low:.3f} to {high:.3f})")
population.round(4)

# %%
figure, ax = plt.subplots(figsize=(7.4, 2.8), layout="constrained")
for i, (key, row) in enumerate(population.iterrows()):
    colour = "C2" if key[0] == "positive" else "C0"
    ax.plot([row["2.5 %"], row["97.5 %"]], [i, i], color=colour, lw=2)
    ax.plot(row["share"], i, "o", color=colour)
ax.set(yticks=range(len(population)), yticklabels=[f"{a}: {b}" for a, b in population.index], xlim=(0, None))
ax.set(xlabel="share of CD3+ CD4+ CD8b+ cells, with 95 % interval")
ax.invert_yaxis()
plt.show()

# %% [markdown]
# The intervals of different methods need not overlap, and some do not, because the methods count different things: the
# gate cuts through populations, whereas a component is in or out as a whole. How much does the share depend on the
# gate, for the components of the bootstrap?

# %%
by_components = pd.DataFrame(
    {
        (name, gate): dict(
            zip(
                ["2.5 %", "share", "97.5 %"],
                np.quantile(share_of(b.weights, b.means, gate), [0.025, 0.5, 0.975]),
                strict=True,
            )
        )
        for name, b in bootstraps.items()
        for gate in gates
    }
).T
by_components.round(4)

# %% [markdown]
# Where a mean lies near the gate, its component falls on one side or the other from replicate to replicate, and the
# share jumps. An interval as wide as the widest here is a sign that the question is badly posed, not that there are too
# few cells.
#
# ## Which component corresponds to which?
#
# Two fits have two numberings. `match` finds, for each component of a fit, its partner in an earlier one, with a score
# between 0 and 1 (the same component); below 0.1 it has none.

# %%
matching = by_em["positive"].match(by_em["control"])
print(matching)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.6), layout="constrained", sharex=True, sharey=True)
for ax, (name, fit) in zip(axes, by_em.items(), strict=True):
    above = (fit.means_[:, :3] > 240).all(axis=1)
    part = samples[name]
    inside = fit.predict_proba(part)[:, above].sum(axis=1)
    shown = ax.scatter(part["CD4"], part["CD8b"], c=inside, s=2, cmap="viridis", vmin=0, vmax=1, rasterized=True)
    for k, mean in enumerate(fit.means_):
        ax.annotate(f"{k}", mean[:2], ha="center", va="center", fontsize=9, bbox={"fc": "w", "pad": 1.5})
    ax.set(xlabel="CD4, channel", title=f"{name}, with numbers of components")
axes[0].set(ylabel="CD8b, channel")
figure.colorbar(shown, ax=axes, label="probability of CD3+ CD4+ CD8b+")
plt.show()

# %% [markdown]
# Hardly any component has a partner. Most populations differ between the two patients, or the instrument was set
# differently. Then components must not be compared by their numbers, only by what the markers say.
#
# ## Conclusions
#
# - **The population is several times as large in the positive sample, by every method here.** The difference between
#   the samples is far larger than any error bar. This is a statement about two samples, of one patient each: it says
#   nothing about variation between patients, nor about causes.
# - **Its size is less certain than any single interval suggests.** The position of the gate, and whether cells or
#   components are counted, change the share by more than sampling error does. Quote the definition with the number.
# - **Components are not populations.** BIC asks for ever more of them because populations are curved. Estimate
#   something that does not depend on their numbering, here a sum of weights, and check the R-hat of exactly that: it
#   can be fine where the components themselves do not mix, and if it is not, quote the range over chains with it.
# - **Subsample for the posterior, use all rows for EM.** The posterior of 2,000 cells and the bootstrap of all give
#   shares of the same size.

# %%
for gate in gates:
    assert gated.loc[("positive", gate), "2.5 %"] > 3 * gated.loc[("control", gate), "97.5 %"]
assert (population.loc["positive", "2.5 %"] > 1.5 * population.loc["control", "97.5 %"]).all()
assert low > 0.04
for each in checked.values():  # modes may differ, and which of them chains meet depends on the seed
    assert each["highest chain"] < 1.5 * each["lowest chain"]
for name in samples:  # of the same size; how far apart they are depends on the cells drawn
    counted, sampled = (
        population.loc[(name, method), "share"] for method in ("EM, bootstrap", "posterior, 2,000 cells")
    )
    assert 1 / 3 < sampled / counted < 3
assert gated.loc["positive", "share"].is_monotonic_decreasing
assert matching.is_new.sum() > K / 2
assert bic.idxmin().min() >= K
