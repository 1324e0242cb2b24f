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
# # Semi-supervised: what is known of some customers, and of a few tumours
#
# Clustering ignores what you know, classification ignores rows that nobody has labelled. Often you have both: many
# rows, and labels of a few. `fit(X, labels=...)` takes them as facts. We use it first to say what segments of customers
# *mean*, then measure on tumours, of which all diagnoses are known, what a few of them are worth.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.metrics import log_loss

from bayesgmm import BayesianGaussianMixture, GaussianMixture, MixtureClassifier, style
from bayesgmm.datasets import load_credit_card

style.use()
applicants = load_credit_card()
active = applicants["card"].eq("yes") & applicants["expenditure"].gt(0) & applicants["age"].ge(18)
customers = applicants.loc[active, ["age", "income", "expenditure"]].reset_index(drop=True)
X = np.log(customers)
print(f"{len(customers)} customers")

# %% [markdown]
# ## Customers: segments with a meaning
#
# The notebook on [customers](customers.ipynb) finds three segments and names them afterwards: dormant, young,
# established. A fit without labels numbers them in its own way, by the mean of the first column:

# %%
names = ["dormant", "young", "established"]
unlabelled = GaussianMixture(3, random_state=1).fit(X)
print(pd.DataFrame(np.exp(unlabelled.means_), columns=customers.columns).round(1))

# %% [markdown]
# Suppose that the account managers have spoken with some customers: they know twelve dormant ones and twelve young
# ones. Nobody has labelled an established one yet. -1 stands for unknown.

# %%
rng = np.random.default_rng(0)
labels = np.full(len(X), -1)
spends_little = np.flatnonzero(customers["expenditure"] < 10)
is_young = np.flatnonzero((customers["age"] < 24) & (customers["expenditure"] > 50))
labels[rng.choice(spends_little, 12, replace=False)] = names.index("dormant")
labels[rng.choice(is_young, 12, replace=False)] = names.index("young")
labelled = GaussianMixture(3, random_state=1).fit(X, labels=labels)
print(f"{labelled.n_labelled_} of {len(X)} customers are labelled")
segments = pd.DataFrame(np.exp(labelled.means_), index=names, columns=customers.columns)
segments["share"] = labelled.weights_
segments.round(2)

# %% [markdown]
# Components keep the numbers of their labels: 0 is dormant, 1 young. The third, for which no row is known, gets the
# number that is left; it was found from the other rows. So results of next year's fit can be compared with this one
# without matching.
#
# Knowledge of another kind excludes: *customers above 45 are not "young", and who spends more than 100 USD is not
# dormant*. That is an array (row, component), true where a row may come from a component.

# %%
allowed = np.ones((len(X), 3), dtype=bool)
allowed[customers["age"] > 45, names.index("young")] = False
allowed[customers["expenditure"] > 100, names.index("dormant")] = False
for k in range(3):
    allowed[labels == k] = np.arange(3) == k
posterior = BayesianGaussianMixture(3, draws=1000, target_accept=0.9, random_state=1, progress=False).fit(
    X, labels=allowed
)
print(f"verdict: {posterior.diagnose().verdict}; rows of which something is known: {posterior.n_labelled_}")
membership = posterior.membership()["mean"].to_numpy()
excluded = membership[~allowed].max()
print(f"largest probability of a component that was excluded: {excluded:.3f}")
shares = pd.DataFrame(
    {
        "EM, no labels": unlabelled.weights_[[1, 0, 2]],
        "EM, 24 labels": labelled.weights_,
        "posterior, labels and exclusions": posterior.weights_,
    },
    index=names,
)
shares.round(3)

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.4), layout="constrained")
colours = style.CLUSTERS[:3]
for k, name in enumerate(names):
    rows = membership.argmax(axis=1) == k
    ax.scatter(customers["age"][rows], customers["expenditure"][rows], s=8, alpha=0.5, color=colours[k], label=name)
    known = labels == k
    ax.scatter(customers["age"][known], customers["expenditure"][known], s=36, color=colours[k], edgecolor=style.INK)
ax.set(yscale="log", xlabel="age, years", ylabel="spending, USD a month")
figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper", markerscale=2)
plt.show()

# %% [markdown]
# Most probable segments; large points with an edge are the labelled customers. Their labels hold in all draws, and no
# customer above 45 is "young".
#
# Draws of an unlabelled mixture must be relabelled, because the numbers of components may change between chains. Labels
# fix them: here they tell all three apart, and chains agree on what each number means.

# %%
by_chain = np.exp(posterior.idata["posterior"]["means"].mean("draw").sel(feature="age"))
print("median age by chain and component")
by_chain.to_pandas().round(1)

# %% [markdown]
# ## How many labels are enough?
#
# To measure errors we need rows whose labels are all known: scikit-learn's breast cancer data, 357 benign and 212
# malignant tumours, of which we take the logarithms of three measurements. A cluster of two without labels is not quite
# the diagnosis. We reveal m diagnoses of each kind, ten times at random, and count errors among the tumours that stay
# unlabelled. Beside it is a classifier that learns from the labelled tumours alone.

# %%
data = load_breast_cancer(as_frame=True)
sizes = np.log(data.data[["mean radius", "mean texture", "mean smoothness"]]).to_numpy()
malignant = 1 - data.target.to_numpy()
found = GaussianMixture(2, random_state=0).fit(sizes).predict(sizes) != malignant
without = min(found.mean(), 1 - found.mean())
print(f"without labels: {without:.1%} wrong, with the better of the two numberings")
rows = []
for m in (2, 4, 8, 16, 32, 64):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        shown = np.concatenate([rng.choice(np.flatnonzero(malignant == k), m, replace=False) for k in (0, 1)])
        hidden = np.setdiff1d(np.arange(len(malignant)), shown)
        some = np.full(len(malignant), -1)
        some[shown] = malignant[shown]
        fit = GaussianMixture(2, random_state=0).fit(sizes, labels=some)
        wrong = {"labels and the other tumours": fit.predict(sizes[hidden]) != malignant[hidden]}
        if m > 8:  # 16 rows are fewer than the 19 numbers of two Gaussians
            classifier = MixtureClassifier().fit(sizes[shown], malignant[shown])
            wrong["labelled tumours alone"] = classifier.predict(sizes[hidden]) != malignant[hidden]
        rows += [{"m": m, "way": way, "error": each.mean()} for way, each in wrong.items()]
errors = pd.DataFrame(rows).pivot_table("error", "m", "way", aggfunc=["mean", "max"])
errors.round(3)

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.2), layout="constrained")
for colour, way in (("C0", "labels and the other tumours"), ("C2", "labelled tumours alone")):
    ax.plot(errors.index, errors["mean"][way], "o-", color=colour, label=f"{way}: mean")
    ax.plot(errors.index, errors["max"][way], ".", color=colour, alpha=0.6, label=f"{way}: worst of ten")
ax.axhline(without, color=style.INK, ls="--", lw=1, label="no labels")
ax.set(xlabel="labelled tumours of each kind", ylabel="share wrong, unlabelled ones", ylim=(0, None), xscale="log")
ax.set_xticks(errors.index, errors.index)
ax.minorticks_off()
figure.legend(loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# Large points are means of ten choices of the labelled tumours, small ones the worst. Two labels of each kind change
# little: hundreds of unlabelled rows outvote them. With more, the labels say where the border is, while the other
# tumours say what the clusters look like. The classifier knows nothing of the others: it cannot begin with as few, and
# needs twice as many labels and more for the same error.
#
# ## All labels known
#
# Then it is classification, with a test on tumours that were not used. `MixtureClassifier` is the same model behind
# scikit-learn's interface.

# %%
order = np.random.default_rng(1).permutation(len(malignant))
train, test = order[:300], order[300:]
classifier = MixtureClassifier().fit(sizes[train], malignant[train])
quadratic = QuadraticDiscriminantAnalysis().fit(sizes[train], malignant[train])
comparison = pd.DataFrame(
    {
        name: {
            "share wrong, new tumours": 1 - each.score(sizes[test], malignant[test]),
            "log loss": log_loss(malignant[test], each.predict_proba(sizes[test])),
        }
        for name, each in (("MixtureClassifier", classifier), ("scikit-learn's QDA", quadratic))
    }
)
comparison.round(3)

# %% [markdown]
# One Gaussian a class is quadratic discriminant analysis, and the two agree. `MixtureClassifier` goes further: other
# families of covariances, several components a class, and with `inference="nuts"` or `"gibbs"` probabilities that are
# averaged over the posterior, which matters where a class has few rows.
#
# ## Conclusions
#
# - **Labels say what a component means**, in every chain and in next year's fit. A few suffice, and components without
#   labelled rows are found from the others.
# - **Labels and unlabelled rows together need fewer labels** than a classifier of labelled rows. Very few labels are
#   outvoted, though: check on labels that you held back.
# - **Labels are taken as facts**: a wrong one is not corrected. And weights count labelled rows as they count others:
#   picking as many of each kind, as here, pulls the shares towards each other.
# - **With all labels known use `MixtureClassifier`.**
#
# More: [known labels](../docs/known_labels.md).

# %%
assert labelled.n_labelled_ == 24
assert segments["expenditure"].idxmin() == "dormant"
assert segments["age"].idxmin() == "young"
assert segments["expenditure"].idxmax() == "established"
assert posterior.diagnose().verdict == "converged"
assert excluded == 0
assert shares.sub(shares.mean(axis=1), axis=0).abs().max(axis=None) < 0.1
assert (by_chain.std("chain") < 2).all()
ours, others = (errors["mean"][way] for way in ("labels and the other tumours", "labelled tumours alone"))
assert abs(ours[2] - without) < 0.05
assert ours[64] < ours[16] < without
assert (ours[[16, 32]] < others[[16, 32]]).all()
assert ours[16] < others[32]
assert np.isnan(others[[2, 4, 8]]).all()
assert comparison.loc["share wrong, new tumours"].max() < 0.12
assert comparison.diff(axis=1).iloc[:, 1].abs().max() < 0.02
