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
# # Medicine: tissue, thyroid, tumours, and undecided cases
#
# Three data sets, three uses of a mixture: tissue classes in a scan of a head; clusters of patients compared with their
# diagnoses; and the probability that a tumour is malignant. The question is the same in each: for which pixels or
# patients should the answer be "undecided", and how certain is it?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import cbook
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from scipy.special import expit
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.metrics import adjusted_rand_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bayesgmm
from bayesgmm import BayesianGaussianMixture, style
from bayesgmm.datasets import load_thyroid

style.use()
with cbook.get_sample_data("s1045.ima.gz") as file:
    head = np.frombuffer(file.read(), ">u2").reshape(256, 256).astype(float)
rows, columns = slice(60, 125), slice(70, 170)  # inside the skull
brain = head[rows, columns]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained", width_ratios=[1, 1.6])
left.imshow(head, cmap="gray")
left.add_patch(plt.Rectangle((70, 60), 100, 65, fill=False, color="C1", lw=2))
left.set_axis_off()
right.hist(brain.ravel(), bins=np.arange(0, 220, 2), color=style.DATA)
right.set(xlabel="grey value inside the frame", ylabel="pixels")
plt.show()

# %% [markdown]
# ## Tissue
#
# Matplotlib ships one slice of a magnetic resonance scan. Inside the frame lie grey matter, white matter and, dark, the
# fluid in the folds. BIC chooses the number of classes of grey values, from 2,000 random pixels. Grey values are
# integers, so we add uniform noise between -1/2 and 1/2.

# %%
rng = np.random.default_rng(0)
grey = rng.choice(brain.ravel(), 2000, replace=False) + rng.uniform(-0.5, 0.5, 2000)
grey = pd.DataFrame({"grey": grey})
by_k = bayesgmm.select_components(grey, range(1, 6), ["full"], random_state=1, progress=False)
print(by_k)
tissue = BayesianGaussianMixture(3, target_accept=0.95, random_state=1, progress=False).fit(grey)
print(tissue)

# %%
levels = pd.DataFrame({"grey": np.linspace(0, 210, 300)})
membership = tissue.membership(levels)
tissues = ["fluid and mixed", "grey matter", "white matter"]
figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3), layout="constrained")
left.hist(grey["grey"], bins=60, density=True, color=style.GREY)
for k, label in enumerate(tissues):
    sd = np.sqrt(tissue.covariances_[k, 0, 0])
    left.plot(levels, tissue.weights_[k] * norm.pdf(levels, tissue.means_[k, 0], sd), label=label)
    right.plot(levels, membership["mean"][:, k])
    right.fill_between(levels["grey"], *membership["ci"][:, k].to_numpy().T, alpha=0.3, lw=0)
left.set(xlabel="grey value", ylabel="density", title="Weighted densities of the components")
right.set(xlabel="grey value", ylabel="probability", title="Membership, 89 % intervals")
figure.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# The darkest component has a small weight and a large variance: it holds what is left over, fluid, and pixels that
# contain both fluid *and* grey matter (the *partial volume* effect of radiology). A wide component also extends beyond
# its neighbours: at the bright end its membership probability rises again. That is a property of the model, not of the
# brain, and its intervals are wide there too.

# %%
every = pd.DataFrame({"grey": brain.ravel()})
probability = tissue.predict_proba(every)
uncertain = bayesgmm.membership_uncertainty(tissue.posterior_.isel(draw=slice(None, None, 20)), every)
figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.2), layout="constrained")
axes[0].imshow(brain, cmap="gray")
axes[0].set_title("Grey values")
axes[1].imshow(tissue.predict(every).reshape(brain.shape), cmap=ListedColormap(style.CLUSTERS[:3]))
axes[1].set_title("Most probable class")
shown = axes[2].imshow(uncertain["total"].to_numpy().reshape(brain.shape), vmin=0)
axes[2].set_title("Uncertainty of the class")
figure.colorbar(shown, ax=axes[2], shrink=0.8, label="nats")
figure.legend(
    handles=[Patch(color=f"C{k}", label=label) for k, label in enumerate(tissues)], loc="outside lower center", ncols=3
)
for ax in axes:
    ax.set_axis_off()
plt.show()

# %%
undecided_pixels = (probability.max(axis=1) < 0.8).mean()
white = tissue.idata["posterior"]["weights"][..., 2].to_numpy().ravel()
low, high = np.quantile(white, [0.055, 0.945])
print(f"share of white matter: {white.mean():.2f} (89 % interval {low:.2f} to {high:.2f})")
print(f"share of pixels whose most probable class has a probability below 0.8: {undecided_pixels:.2f}")
print(
    f"share of the uncertainty due to parameters: {float(uncertain['mean_parameters'] / uncertain['mean_total']):.2f}"
)

# %% [markdown]
# The uncertain pixels lie on the border between grey and white matter, where a pixel contains some of each: there, a
# class is the wrong answer and a share the right one. Most of the uncertainty is overlap, which more pixels would not
# reduce. One warning: the pixels come from one slice, so these error bars apply to this slice's grey values and not to
# those of the next scan.
#
# ## Thyroid: clusters compared with diagnoses
#
# Five laboratory tests of 215 patients. The model does not see the diagnosis. First BIC, for two covariance families.

# %%
thyroid = load_thyroid()
diagnosis, tests = thyroid["Diagnosis"], thyroid.drop(columns="Diagnosis")
by_family = bayesgmm.select_components(tests, range(1, 6), ["full", "diag"], random_state=1, progress=False)
print(by_family)
four = pd.Series(by_family.best.predict(tests), name="winner's clusters")
pd.crosstab(diagnosis, four)

# %% [markdown]
# In the best model tests are uncorrelated within clusters, and there is one cluster more than there are diagnoses: the
# underactive are split in two. A cluster is not a diagnosis. With full covariances BIC chooses three clusters, which
# we look at now although their BIC is much worse.

# %%
bic = by_family.table["bic"].xs("full", level="covariance_type")
print(
    f"full covariances: {bic.idxmin()} clusters, BIC {bic.min() - by_family.table['bic'].min():.1f} behind the winner"
)
patients = BayesianGaussianMixture(3, random_state=1, progress=False).fit(tests)
print(patients)
name = dict(enumerate(pd.crosstab(patients.predict(tests), diagnosis).idxmax(axis=1)))
cluster = pd.Series(patients.predict(tests), name="cluster").map(name)
pd.crosstab(diagnosis, cluster)

# %%
labels = bayesgmm.sample_labels(patients, random_state=1)
sampled = labels.to_numpy().reshape(-1, len(tests))[::20]
agreement = np.array([adjusted_rand_score(diagnosis, each) for each in sampled])
low, high = np.quantile(agreement, [0.055, 0.945])
print(f"adjusted Rand index of the most probable labels: {adjusted_rand_score(diagnosis, cluster):.2f}")
print(f"89 % interval over draws of the labels: {low:.2f} to {high:.2f}")

# %% [markdown]
# Which patients are in a cluster that does not match their diagnosis, and did the model know that it was uncertain?
# `p` is the probability of the cluster that does match, with its interval:

# %%
probability = patients.predict_proba(tests)
own = np.array([{group: k for k, group in name.items()}[group] for group in diagnosis])
of_diagnosis = patients.membership(tests).isel(cluster=("obs", own))
doubts = tests.assign(
    diagnosis=diagnosis,
    cluster=cluster,
    p=of_diagnosis["mean"].to_numpy(),
    lower=of_diagnosis["ci"][:, 0].to_numpy(),
    upper=of_diagnosis["ci"][:, 1].to_numpy(),
)[diagnosis != cluster]
sure_but_wrong = (doubts["upper"] < 0.1).sum()
print(f"{len(doubts)} of {len(tests)} patients; {sure_but_wrong} with an interval that ends below 0.1")
doubts.sort_values("p").round(2)

# %% [markdown]
# Some are undecided, as their wide intervals show. Others are placed in another cluster with confidence: a cluster is a
# region of test results, a diagnosis is the judgement of a doctor who knew more. The interval of a membership
# probability is about the parameters of the mixture, not about the diagnosis.

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.4), layout="constrained")
for k, group in name.items():
    of_group = (diagnosis == group).to_numpy()
    ax.scatter(tests["T4"][of_group], tests["RT3U"][of_group], s=14, color=style.CLUSTERS[k], label=group)
unsure = probability.max(axis=1) < 0.9
ax.scatter(
    tests["T4"][unsure],
    tests["RT3U"][unsure],
    s=70,
    facecolor="none",
    edgecolor=style.INK,
    label="no cluster\nabove 0.9",
)
ax.set(xlabel="total serum thyroxine (T4)", ylabel="T3 resin uptake (RT3U), %")
figure.legend(title="diagnosis", loc="outside right upper")
plt.show()

# %% [markdown]
# ## Tumours: a probability for each, with an interval
#
# Scikit-learn's breast cancer data: thirty numbers from the image of a needle biopsy, 357 benign and 212 malignant.
# Here labels are known for earlier patients, so each class gets its own model, and Bayes' theorem does the rest.
# Everything is chosen on one half of the data: three of the ten features called "worst", by the cross-validated log
# loss of one Gaussian per class, and the number of components of each class, by BIC. The other half is used once.

# %%
data = load_breast_cancer(as_frame=True)
malignant = 1 - data.target
train, test, train_y, test_y = train_test_split(data.data, malignant, test_size=0.5, random_state=0, stratify=malignant)
worst = [column for column in train if column.startswith("worst")]
gaussians = make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis())
chosen = SequentialFeatureSelector(gaussians, n_features_to_select=3, scoring="neg_log_loss", cv=10)
features = list(chosen.fit(train[worst], train_y).get_feature_names_out())
print(features)
n_components, classes = {}, {}
for label in (0, 1):
    rows = train.loc[train_y == label, features]
    by_bic = bayesgmm.select_components(rows, [1, 2, 3], ["full"], random_state=1, progress=False)
    n_components[label] = by_bic.winner[1]
    classes[label] = BayesianGaussianMixture(n_components[label], random_state=1, progress=False).fit(rows)
    print(f"{('benign', 'malignant')[label]}: {n_components[label]} component, {classes[label].diagnose().verdict}")


# %% [markdown]
# Each draw of the two posteriors, and of the share of malignant tumours, gives one probability for each new patient.
# The mean over draws is the one to act on; the interval shows how accurately the training half determines it.


# %%
def log_densities(fit):
    """Log density of each new patient under each draw, (draw, patient)."""
    found = bayesgmm.compute_log_likelihood(fit, test[features])["log_likelihood"]["y"]
    return found.to_numpy().reshape(-1, len(test))


rng = np.random.default_rng(3)
density = {label: log_densities(fit) for label, fit in classes.items()}
share = rng.beta(1 + train_y.sum(), 1 + (1 - train_y).sum(), size=len(density[0]))
by_draw = expit(density[1] - density[0] + np.log(share / (1 - share))[:, None])
new = pd.DataFrame({"malignant": test_y.to_numpy(), "p": by_draw.mean(axis=0)})
new["lower"], new["upper"] = np.quantile(by_draw, [0.055, 0.945], axis=0)
new["answer"] = np.select([new["p"] < 0.1, new["p"] > 0.9], ["benign", "malignant"], "undecided")
answers = new.groupby("answer")["malignant"].agg(["size", "sum", "mean"])
answers.columns = ["patients", "malignant", "share malignant"]
plugged = gaussians.fit(train[features], train_y).predict_proba(test[features])[:, 1]
losses = {"posterior": log_loss(test_y, new["p"]), "plug-in estimate": log_loss(test_y, plugged)}
print("log loss:", ", ".join(f"{method} {loss:.3f}" for method, loss in losses.items()))
answers.round(3)

# %%
order = new.sort_values("p", ignore_index=True)
figure, ax = plt.subplots(figsize=(7.4, 3.2), layout="constrained")
ax.axhspan(0.1, 0.9, color=style.GREY, alpha=0.4, lw=0, label="undecided")
ax.vlines(order.index, order["lower"], order["upper"], color=style.DATA, lw=0.8, label="89 % interval")
for label, colour in ((0, "C0"), (1, "C2")):
    of_class = order[order["malignant"] == label]
    ax.scatter(of_class.index, of_class["p"], s=10, color=colour, label=("benign", "malignant")[label], zorder=3)
ax.set(xlabel="new patients, ordered by probability", ylabel="probability of malignancy")
figure.legend(loc="outside right upper")
plt.show()

# %% [markdown]
# Are the probabilities calibrated? The number of malignant tumours among the patients in a range of probabilities
# should be the sum of these probabilities, up to chance:

# %%
band = pd.cut(new["p"], [0, 0.02, 0.1, 0.9, 0.98, 1], include_lowest=True)
calibration = new.assign(variance=new["p"] * (1 - new["p"])).groupby(band, observed=True)
calibration = calibration.agg(
    patients=("p", "size"), expected=("p", "sum"), malignant=("malignant", "sum"), sd=("variance", "sum")
)
calibration["sd"] **= 0.5
calibration["z"] = (calibration["malignant"] - calibration["expected"]) / calibration["sd"]
calibration.round(2)

# %%
undecided = new[new["answer"] == "undecided"]
wrong = ((new["p"] > 0.5) != new["malignant"])[new["answer"] != "undecided"].sum()
width = (undecided["upper"] - undecided["lower"]).median()
print(f"undecided: {len(undecided)}, with intervals of median width {width:.2f}")
print(f"decided: {len(new) - len(undecided)}, of which wrong: {wrong}")

# %% [markdown]
# Averaging over the posterior gains next to nothing in log loss here: with three features and a hundred patients or
# more per class, the Gaussians are known well. What it adds is the interval, which is wide just where the decision is
# open.
#
# ## Conclusions
#
# - **Allow the answer "undecided", and report how often it is given.** Nearly all of the confident answers are right;
#   the undecided cases are few enough for a second look.
# - **Know what an interval covers.** More data reduce the uncertainty about parameters, but not overlap. Neither covers
#   the possibility that the model is wrong: some thyroid patients are firmly in another cluster. If a doctor and a
#   cluster disagree, the cluster is not the judge.
# - **A component need not correspond to anything real.** The widest tissue class holds what the other two leave over,
#   among it fluid and pixels of two tissues. Look at where it lies before you name it.
# - **Choose features on data that you do not evaluate on**, and say what you chose from.

# %%
assert by_k.winner == ("full", 3)
assert tissue.diagnose().verdict == "converged"
np.testing.assert_allclose(tissue.means_[1:, 0], [138.7, 175.2], atol=4)
assert uncertain["mean_parameters"] < 0.25 * uncertain["mean_total"]
assert by_family.winner == ("diag", 4)
assert bic.idxmin() == 3
assert adjusted_rand_score(diagnosis, cluster) > 0.8
assert np.quantile(agreement, 0.055) > 0.65
assert 3 <= sure_but_wrong < len(doubts) < 20
assert set(n_components.values()) == {1}
assert abs(losses["posterior"] - losses["plug-in estimate"]) < 0.02
assert answers.loc["benign", "share malignant"] < 0.05
assert answers.loc["malignant", "share malignant"] > 0.95
assert len(undecided) < 0.3 * len(new)
assert calibration["z"].abs().max() < 3.5
