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
# # Image segmentation: colours, initialization, and the uncertainty of each pixel
#
# An image is a table: one row per pixel, three columns for red, green and blue. Clusters of colours divide it into
# segments. Images are difficult for EM in two ways that this notebook shows: the usual initializations all lead to the
# same poor optimum, and components can collapse onto colours that are stored as integers. At the end we ask how certain
# the segment of each pixel is.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_sample_image
from sklearn.mixture import GaussianMixture as SklearnMixture

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, style
from bayesgmm.exceptions import SingleBestStartWarning

style.use()
plt.rcParams["figure.dpi"] = 80  # photographs make large files
picture = load_sample_image("china.jpg")
pixels = picture.reshape(-1, 3).astype(float)  # levels, 0 to 255
X = pixels[np.random.default_rng(0).choice(len(pixels), 5000, replace=False)]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained", width_ratios=[1.5, 1])
left.imshow(picture[::3, ::3])
left.set_axis_off()
right.scatter(X[:, 0], X[:, 2], s=3, c=X / 255, rasterized=True)
right.set(xlabel="red, level", ylabel="blue, level", title="5,000 pixels in their own colours")
plt.show()

# %% [markdown]
# ## Starts that are all alike
#
# EM converges to a local optimum, so it matters where it starts. Many programs run k-means first. We compare five such
# starts by scikit-learn, with five seeds, run to convergence, with one fit of ours with default settings, which uses
# four kinds of starts and a local search after them.


# %%
def k_means_starts(X, k):
    """Five fits by scikit-learn, each from k-means with another seed."""
    settings = {"tol": 1e-6, "max_iter": 2000}
    return [SklearnMixture(k, random_state=seed, **settings).fit(X) for seed in range(5)]


rows, fits, theirs = [], {}, {}
for k in (3, 5):
    fits[k] = GaussianMixture(k, random_state=1).fit(X)
    theirs[k] = max(started := k_means_starts(X, k), key=lambda fit: fit.score(X))
    by_k_means = np.array([fit.score(X) * len(X) for fit in started])
    rows.append(
        {
            "K": k,
            "k-means starts, worst": by_k_means.min(),
            "k-means starts, best": by_k_means.max(),
            "ours": fits[k].log_likelihood_,
            "ours minus best": fits[k].log_likelihood_ - by_k_means.max(),
        }
    )
by_start = pd.DataFrame(rows).set_index("K")
by_start.round(1)

# %% [markdown]
# The five seeds agree to within a nat, as if this were the maximum. It is not: k-means leads them all to the same
# optimum. Another way of dividing the image has a log-likelihood more than a hundred nats higher:


# %%
def painted(labels, k):
    """The reduced image with each segment in its mean colour."""
    small = picture[::3, ::3].reshape(-1, 3)
    colours = np.array([small[labels == one].mean(axis=0) for one in range(k)])
    return colours[labels].astype(np.uint8).reshape(picture[::3, ::3].shape)


small = picture[::3, ::3].reshape(-1, 3).astype(float)
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained")
for ax, fit, title in zip(axes, (theirs[5], fits[5]), ("best of the k-means starts", "ours"), strict=True):
    ax.imshow(painted(fit.predict(small), 5))
    ax.set_axis_off()
    ax.set_title(f"{title}: log-likelihood {fit.score(X) * len(X):,.0f}")
plt.show()

# %% [markdown]
# The k-means starts use three segments for the dark half and two for sky and water. The likelihood prefers three for
# the bright half, where colours are dense and small differences count. Which of the two *looks* better is another
# question: a likelihood measures how well the colours are described.
#
# ## The record of starts
#
# Every fit keeps a record: how many starts were made, how many distinct optima they found, how many reached the best of
# these, and how many collapsed. If only one reaches the best optimum, the fit warns.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SingleBestStartWarning)  # the table says how many reached the best
    fits[8] = GaussianMixture(8, random_state=1).fit(X)
starts_of = {f"K={k}": fits[k].starts_ for k in (3, 5, 8)}
pd.DataFrame(
    {
        name: {
            "starts": starts.n_starts,
            "distinct optima": starts.n_optima,
            "starts in the best": starts.n_best_reached,
            "collapsed starts": starts.n_degenerate,
            "best log-likelihood": f"{starts.objectives[~starts.degenerate].max():,.0f}",
        }
        for name, starts in starts_of.items()
    }
)

# %% [markdown]
# ## Spikes: a higher likelihood that means nothing
#
# With eight components there are solutions whose likelihood is higher by hundreds of nats. In these a component has
# collapsed; a fit leaves them out. Why? Let us look at one: EM from random rows with scikit-learn, the best of three
# seeds.

# %%
three = [SklearnMixture(8, init_params="random_from_data", random_state=s, tol=1e-6, max_iter=2000) for s in range(3)]
spiked = max((each.fit(X) for each in three), key=lambda each: each.score(X))
variances = np.linalg.eigvalsh(spiked.covariances_)[:, 0]
spike = int(variances.argmin())
colours, counts = np.unique(X[spiked.predict(X) == spike], axis=0, return_counts=True)
print(f"log-likelihood {spiked.score(X) * len(X):,.0f}, ours {fits[8].log_likelihood_:,.0f}")
print(f"one component has {counts.sum()} pixels of {len(colours)} colours, one colour up to {counts.max()} times")
print(f"its smallest variance is {variances[spike]:.3f}; rounding to integers alone has variance {1 / 12:.3f}")

# %% [markdown]
# The component lies on pixels of few colours, whose three integers nearly satisfy one linear equation. In one direction
# its variance is smaller than that of rounding: it describes the file format, not the image.
#
# The remedy is one line: add uniform noise over the interval that each value was rounded from. Then no start collapses,
# and the fit with the spike loses its advantage.

# %%
dithered = X + np.random.default_rng(1).uniform(-0.5, 0.5, X.shape)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SingleBestStartWarning)  # the record below says how often the best was reached
    unrounded = GaussianMixture(8, random_state=1, n_init=20).fit(dithered)
    from_spike = GaussianMixture(
        8,
        weights_init=spiked.weights_,
        means_init=spiked.means_,
        precisions_init=np.linalg.inv(spiked.covariances_ + np.eye(3) / 12),
    ).fit(dithered)
print(f"collapsed: {unrounded.starts_.n_degenerate} of {unrounded.starts_.n_starts} starts")
print(f"log-likelihood {unrounded.log_likelihood_:,.0f}, reached by {unrounded.starts_.n_best_reached} of them")
print(f"log-likelihood of EM started at the spike: {from_spike.log_likelihood_:,.0f}")

# %% [markdown]
# ## How many segments?
#
# The colours of a photograph are not a Gaussian mixture, and BIC falls with every component that is added: each
# describes a bit more of a curved cloud. The number of segments depends on what they are for. We take four.

# %%
bic = pd.Series({k: GaussianMixture(k, random_state=1, n_init=20).fit(dithered).bic() for k in range(2, 7)}, name="BIC")
bic.rename_axis("K").round(0).to_frame().T

# %% [markdown]
# ## How certain is each pixel?
#
# A posterior does not need a quarter of a million pixels. We draw 500 and 2,000 at random, and predict every ninth
# pixel of the image. `membership_uncertainty` splits the uncertainty into overlap of the segments (aleatoric), which
# more pixels do not reduce, and uncertainty about the parameters (epistemic), which they do.

# %%
posteriors, verdicts, splits = {}, {}, {}
for n in (500, 2000):
    posteriors[n] = BayesianGaussianMixture(4, random_state=1, progress=False).fit(dithered[:n])
    verdicts[n] = posteriors[n].diagnose().verdict
    thinned = posteriors[n].posterior_.isel(draw=slice(None, None, 20))  # 200 draws are enough for a map
    splits[n] = bayesgmm.membership_uncertainty(thinned, small)
uncertainty = pd.DataFrame(
    {
        n: {
            "verdict": verdicts[n],
            **{f"{name}, nats": float(split[f"mean_{name}"]) for name in ("overlap", "parameters")},
        }
        for n, split in splits.items()
    }
).rename_axis(columns="pixels")
uncertainty

# %%
shape = picture[::3, ::3].shape[:2]
maps = {
    "Total, from 2,000 pixels": splits[2000]["total"],
    "Parameters, from 500 pixels": splits[500]["parameters"],
    "Parameters, from 2,000 pixels": splits[2000]["parameters"],
}
figure, axes = plt.subplots(2, 2, figsize=(7.4, 4.6), layout="constrained")
axes[0, 0].imshow(painted(posteriors[2000].predict(small), 4))
axes[0, 0].set_title("Segments")
for ax, (title, values) in zip(axes.flat[1:], maps.items(), strict=True):
    highest = np.log(2) if title.startswith("Total") else 0.2
    shown = ax.imshow(values.to_numpy().reshape(shape), vmin=0, vmax=highest)
    ax.set_title(title)
    figure.colorbar(shown, ax=ax, label="uncertainty, nats", shrink=0.8, extend="max")
for ax in axes.flat:
    ax.set_axis_off()
plt.show()

# %%
figure, ax = plt.subplots(figsize=(7.4, 2.4), layout="constrained")
ax.hist(posteriors[2000].predict_proba(dithered).max(axis=1), bins=40, color=style.DATA)
ax.set(xlabel="probability of the most probable segment", ylabel="pixels")
plt.show()

# %% [markdown]
# ## Were the error bars right?
#
# Here the truth is known: EM on all pixels, with noise added in the same way. How many posterior standard deviations
# are the estimates from 2,000 pixels away from it?

# %%
everything = pixels + np.random.default_rng(2).uniform(-0.5, 0.5, pixels.shape)
truth = GaussianMixture(4, random_state=1, n_init=3).fit(everything)
draws = posteriors[2000].idata["posterior"]
nearest = [int(np.linalg.norm(truth.means_ - mean, axis=1).argmin()) for mean in posteriors[2000].means_]
check = pd.DataFrame(
    {
        "weight, all pixels": truth.weights_[nearest],
        "weight, 2,000 pixels": draws["weights"].mean(("chain", "draw")),
        "sd": draws["weights"].std(("chain", "draw")),
    }
)
z_weights = (check["weight, 2,000 pixels"] - check["weight, all pixels"]) / check["sd"]
z_means = (posteriors[2000].means_ - truth.means_[nearest]) / draws["means"].std(("chain", "draw")).to_numpy()
check["z, weight"] = z_weights
check["largest z, mean colour"] = np.abs(z_means).max(axis=1)
check.round(3)

# %% [markdown]
# No difference is much larger than two standard deviations, although the colours are not a Gaussian mixture. The pixels
# were drawn at random, which makes the rows independent. Had we taken a corner of the image, neighbouring pixels would
# have been alike, and the error bars would have been too narrow.
#
# ## Conclusions
#
# - **Agreement of starts proves nothing when they are all made in the same way.** Use several kinds of starts, and look
#   at the record.
# - **The highest likelihood may be a spike**, in particular for values that are stored as integers. Undo the rounding,
#   and it is gone.
# - **Sample pixels, then segment.** After two thousand pixels, hardly any uncertainty about the parameters is left.
#   What remains is overlap, at the horizon and in the trees, where colour alone does not decide; more pixels will not
#   help there, other features might.
# - **The number of components is a choice here.** BIC asks for ever more, since a photograph is not a Gaussian mixture.
#   Choose by what the segments are for.

# %%
assert (by_start["k-means starts, best"] - by_start["k-means starts, worst"] < 5).all()
assert (by_start["ours minus best"] > 100).all()
assert starts_of["K=5"].n_optima >= 2
assert starts_of["K=8"].n_starts > 1
assert spiked.score(X) * len(X) > fits[8].log_likelihood_ + 50
assert variances[spike] < 1 / 12
assert unrounded.starts_.n_degenerate == 0
assert from_spike.log_likelihood_ < unrounded.log_likelihood_
assert (bic.diff().dropna() < 0).all()
assert set(verdicts.values()) == {"converged"}
assert uncertainty.loc["parameters, nats", 500] > 2 * uncertainty.loc["parameters, nats", 2000]
assert max(np.abs(z_weights).max(), np.abs(z_means).max()) < 3.5
