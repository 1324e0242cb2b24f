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
# # Medicine: tissue, thyroid, tumours, and who is undecided
#
# Three data sets, three uses of a mixture: tissue classes in a picture of a head; clusters of patients beside their
# diagnoses; and the probability that a tumour is malignant. In each the question is the same: for which pixels
# or patients should the answer be "cannot tell", and how sure is that?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import cbook
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
from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_thyroid

with cbook.get_sample_data("s1045.ima.gz") as file:
    head = np.frombuffer(file.read(), ">u2").reshape(256, 256).astype(float)
rows, columns = slice(60, 125), slice(70, 170)  # inside the skull
brain = head[rows, columns]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=[1, 1.6])
left.imshow(head, cmap="gray")
left.add_patch(plt.Rectangle((70, 60), 100, 65, fill=False, color="C1"))
left.set_axis_off()
right.hist(brain.ravel(), bins=np.arange(0, 220, 2), color="0.7")
right.set(xlabel="grey value, inside the frame", ylabel="pixels")
plt.close(figure)
figure

# %% [markdown]
# ## Tissue
#
# Matplotlib ships one slice of a magnetic resonance scan. Inside the frame lie grey matter, white matter, and the fluid
# in the folds, dark. We let BIC say how many classes of grey values there are, on 2,000 pixels at random, spread over
# the unit that each was rounded from.

# %%
rng = np.random.default_rng(0)
grey = rng.choice(brain.ravel(), 2000, replace=False) + rng.uniform(-0.5, 0.5, 2000)
grey = pd.DataFrame({"grey": grey})
by_k = bayesgmm.select_components(grey, range(1, 6), ["full"], random_state=1, progress=False)
print(by_k)
tissue = BayesianGaussianMixture(3, target_accept=0.95, random_state=1, progress=False).fit(grey)
print(bayesgmm.diagnose(tissue).verdict)
tissue_summary = tissue.summary()[["mean", "sd", "eti89_lb", "eti89_ub"]]
tissue_summary.round(2)

# %%
levels = pd.DataFrame({"grey": np.linspace(0, 210, 300)})
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.hist(grey["grey"], bins=60, density=True, color="0.85")
for k, colour in enumerate(("C0", "C7", "C1")):
    sd = np.sqrt(tissue.covariances_[k, 0, 0])
    left.plot(levels, tissue.weights_[k] * norm.pdf(levels, tissue.means_[k, 0], sd), color=colour)
left.set(xlabel="grey value", ylabel="density", title="three components")
membership = tissue.membership(levels)
for k, colour in enumerate(("C0", "C7", "C1")):
    right.plot(levels, membership["mean"][:, k], color=colour)
    right.fill_between(levels["grey"], *membership["ci"][:, k].to_numpy().T, color=colour, alpha=0.3, lw=0)
right.set(xlabel="grey value", title="membership, 89 % intervals")
plt.close(figure)
figure

# %% [markdown]
# The darkest component is wide and light: it is what is left over, fluid, and pixels that hold fluid *and* grey matter
# (the *partial volume* of radiology). A wide component also reaches past its neighbours: at the bright end its
# membership rises again. That is a property of the model, not of the brain, and its intervals are wide there too.

# %%
every = pd.DataFrame({"grey": brain.ravel()})
probability = tissue.predict_proba(every)
uncertain = bayesgmm.membership_uncertainty(tissue.posterior_.isel(draw=slice(None, None, 20)), every)
figure, axes = plt.subplots(1, 3, figsize=(10, 2.5), layout="constrained")
axes[0].imshow(brain, cmap="gray")
axes[0].set_title("grey values")
axes[1].imshow(probability.argmax(axis=1).reshape(brain.shape), cmap="viridis")
axes[1].set_title("most probable class")
shown = axes[2].imshow(uncertain["total"].to_numpy().reshape(brain.shape), cmap="magma", vmin=0)
axes[2].set_title("uncertainty, nats")
figure.colorbar(shown, ax=axes[2], shrink=0.8)
for ax in axes:
    ax.set_axis_off()
plt.close(figure)
figure

# %%
undecided_pixels = (probability.max(axis=1) < 0.8).mean()
white = tissue.posterior_["posterior"]["weights"][..., 2].to_numpy().ravel()
print(f"white matter: {white.mean():.3f}, 89 % of the posterior in {np.quantile(white, [0.055, 0.945]).round(3)}")
print(f"share of pixels whose class has a probability below 0.8: {undecided_pixels:.2f}")
print(f"of the uncertainty, parameters: {float(uncertain['mean_parameters'] / uncertain['mean_total']):.2f}")

# %% [markdown]
# Uncertainty lies on the border between grey and white, where a pixel holds some of each: there a class is the wrong
# answer, and a share the right one. Most of it is overlap, which more pixels would not cure. One warning: pixels were
# drawn from one slice, so these error bars are about this slice's grey values, and not about the next scan's.
#
# ## Thyroid: clusters without labels, diagnoses beside them
#
# Five laboratory tests of 215 patients. The diagnosis is not shown to the model. BIC first, over two families.

# %%
thyroid = load_thyroid()
diagnosis, tests = thyroid["Diagnosis"], thyroid.drop(columns="Diagnosis")
by_family = bayesgmm.select_components(tests, range(1, 6), ["full", "diag"], random_state=1, progress=False)
print(by_family)
four = pd.Series(by_family.best.predict(tests), name="winner's clusters")
pd.crosstab(diagnosis, four)

# %% [markdown]
# The winner has uncorrelated tests within clusters, and one cluster more than there are diagnoses: it splits the
# underactive in two. A cluster is no diagnosis. With full covariances BIC takes three, which we look at now, far
# behind though they are.

# %%
bic = by_family.table["bic"].xs("full", level="covariance_type")
print(
    f"full covariances: {bic.idxmin()} clusters, BIC {bic.min() - by_family.table['bic'].min():.1f} behind the winner"
)
patients = BayesianGaussianMixture(3, random_state=1, progress=False).fit(tests)
print(bayesgmm.diagnose(patients).verdict)
name = dict(enumerate(pd.crosstab(patients.predict(tests), diagnosis).idxmax(axis=1)))
cluster = pd.Series(patients.predict(tests), name="cluster").map(name)
pd.crosstab(diagnosis, cluster)

# %%
labels = bayesgmm.sample_labels(patients, random_state=1)
sampled = labels.to_numpy().reshape(-1, len(tests))[::20]
agreement = np.array([adjusted_rand_score(diagnosis, each) for each in sampled])
print(f"adjusted Rand index: {adjusted_rand_score(diagnosis, cluster):.2f} at the best labels,")
print(f"89 % of the posterior in {np.quantile(agreement, [0.055, 0.945]).round(2)}")

# %% [markdown]
# Who is off, and did the model know? For each patient whose cluster does not fit the diagnosis, the probability
# of the one that does:

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
# Some are undecided and say so with wide intervals. Others are placed elsewhere with confidence: a cluster is a
# region of the tests, a diagnosis is a doctor's judgement that knew more. An interval of a membership is about the
# parameters of the mixture; it is no interval of the diagnosis.

# %%
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for group, colour in zip(("Hyper", "Normal", "Hypo"), ("C3", "C7", "C0"), strict=True):
    of_group = (diagnosis == group).to_numpy()
    ax.scatter(tests["T4"][of_group], tests["RT3U"][of_group], s=12, color=colour, label=f"{group} by diagnosis")
unsure = probability.max(axis=1) < 0.9
ax.scatter(
    tests["T4"][unsure], tests["RT3U"][unsure], s=70, facecolor="none", edgecolor="k", label="no cluster above 0.9"
)
ax.set(xlabel="T4", ylabel="RT3U, %")
ax.legend(fontsize=8)
plt.close(figure)
figure

# %% [markdown]
# ## Tumours: a probability for each, with its error
#
# Scikit-learn's breast cancer data: thirty numbers from the picture of a needle biopsy, 357 benign and 212 malignant.
# Here labels are known for earlier patients, so each class gets its own model, and Bayes' theorem the
# rest. Everything is chosen on one half: three of the ten features called "worst", by cross-validated log loss of one
# Gaussian a class, and the number of components of each class by BIC. The other half is looked at once.

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
    n_components[label] = bayesgmm.select_components(rows, [1, 2, 3], ["full"], random_state=1, progress=False).winner[
        1
    ]
    classes[label] = BayesianGaussianMixture(n_components[label], random_state=1, progress=False).fit(rows)
    print(("benign", "malignant")[label], "components:", n_components[label], bayesgmm.diagnose(classes[label]).verdict)


# %% [markdown]
# Each draw of the two posteriors, and of the share of malignant tumours, gives one probability for each new patient.
# The mean over draws is what to act on; the interval says how well the training half knows it.


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
losses = {"posterior": log_loss(test_y, new["p"]), "Gaussians plugged in": log_loss(test_y, plugged)}
print({name: round(loss, 3) for name, loss in losses.items()})
answers.round(3)

# %%
order = new.sort_values("p", ignore_index=True)
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.vlines(order.index, order["lower"], order["upper"], color="0.7", lw=1)
for label, colour in ((0, "C0"), (1, "C3")):
    of_class = order[order["malignant"] == label]
    ax.scatter(of_class.index, of_class["p"], s=8, color=colour, label=("benign", "malignant")[label], zorder=3)
ax.axhspan(0.1, 0.9, color="C1", alpha=0.1)
ax.set(xlabel="new patients, by probability", ylabel="probability of malignant, 89 %")
ax.legend()
plt.close(figure)
figure

# %% [markdown]
# Do the probabilities mean what they say? The number of malignant tumours among patients in a band of probabilities
# should be their sum, up to chance:

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
print(f"undecided: {len(undecided)}, with intervals of a median width of {width:.2f}")
print(f"decided: {len(new) - len(undecided)}, of whom wrong: {wrong}")

# %% [markdown]
# Averaging over the posterior is worth next to nothing in log loss here: three features and a hundred patients or
# more a class pin the Gaussians down. What it adds is the interval, and it is wide just where the decision is open.
#
# ## What to take away
#
# - **Let the answer be "undecided", and count how often.** Those whom the model calls sure are nearly all right; the
#   others are few enough for a second look.
# - **Know which uncertainty an interval is about.** Overlap stays with more data, ignorance of the parameters goes.
#   Neither knows that the model may be wrong: some thyroid patients sit firmly in another cluster. If a doctor and
#   a cluster disagree, the cluster is not the judge.
# - **A component need not be a thing.** The widest tissue class holds what the other two leave over, fluid and pixels
#   of two tissues among it. Look at where it lies before you name it.
# - **Choose features on data that you do not judge by**, and say what you chose from.

# %%
assert by_k.winner == ("full", 3)
assert bayesgmm.diagnose(tissue).verdict == "converged"
np.testing.assert_allclose(tissue.means_[1:, 0], [138.7, 175.2], atol=4)
assert uncertain["mean_parameters"] < 0.25 * uncertain["mean_total"]
assert by_family.winner == ("diag", 4)
assert bic.idxmin() == 3
assert adjusted_rand_score(diagnosis, cluster) > 0.8
assert np.quantile(agreement, 0.055) > 0.65
assert 3 <= sure_but_wrong < len(doubts) < 20
assert set(n_components.values()) == {1}
assert abs(losses["posterior"] - losses["Gaussians plugged in"]) < 0.02
assert answers.loc["benign", "share malignant"] < 0.05
assert answers.loc["malignant", "share malignant"] > 0.95
assert len(undecided) < 0.3 * len(new)
assert calibration["z"].abs().max() < 3.5
