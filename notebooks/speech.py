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
# # Who is speaking? A mixture for each voice
#
# Before neural networks, and still alongside them, machines recognised voices by Gaussian mixtures of their short-time
# spectra (Reynolds & Rose 1995). Here four people count in five languages; one of them, Allison, counts in two. Three
# questions: How often is a speaker recognised who says a number that the model has never heard? Does a model of Allison
# recognise her or her language? And who speaks when, if all four take turns?
#
# Every row is a window of 25 ms, described by twelve numbers (mel-frequency cepstral coefficients: the coarse shape of
# the spectrum, without its loudness). An utterance is one number, said once.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from scipy.special import softmax
from scipy.stats import beta

from bayesgmm import BayesianGaussianMixture, GaussianMixture, style
from bayesgmm.datasets import load_speech
from bayesgmm.exceptions import FewRowsWarning, SingleBestStartWarning

style.use()
speech = load_speech()
features = [f"mfcc{j}" for j in range(1, 13)]
speech["utterance"] = speech.groupby(["speaker", "language", "number_spoken"], observed=True).ngroup()
speakers = list(speech["speaker"].cat.categories)
speech.groupby(["speaker", "language", "sex"], observed=True).agg(
    rows=("utterance", "size"), utterances=("utterance", "nunique")
)


# %% [markdown]
# ## A model for each speaker, judged on numbers it has not heard
#
# Each speaker gets a mixture of four components with full covariances. The numbers are divided into five folds, and
# every fold is predicted by models trained on the other four: no voice is judged on a number it was trained on, in any
# language. Several optima of nearly the same likelihood are common in twelve dimensions, and for prediction it makes no
# difference which of them we take, so we switch off the warning that only one start found the best. We also switch off
# the warning of a mixture with more parameters than rows, since training on little speech is what we study at the end.


# %%
def fit_voice(rows, **settings):
    """Maximum likelihood fit of one voice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingleBestStartWarning)
        warnings.simplefilter("ignore", FewRowsWarning)
        return GaussianMixture(**{"n_components": 4, "random_state": 0} | settings).fit(rows[features])


def fit_voices(rows, **settings):
    return {name: fit_voice(part, **settings) for name, part in rows.groupby("speaker", observed=True)}


def log_densities(models, rows):
    """A row for each window, a column for each model."""
    return pd.DataFrame({name: model.mixture_.log_prob(rows[features]) for name, model in models.items()}, rows.index)


def by_utterance(log_density, rows):
    """Sum of log densities over the windows of an utterance, which are treated as independent."""
    return log_density.groupby(rows["utterance"]).sum()


fold = speech["number_spoken"] % 5
held_out = pd.concat([log_densities(fit_voices(speech[fold != f]), speech[fold == f]) for f in range(5)]).sort_index()
utterances = speech.groupby("utterance")[["speaker", "language", "number_spoken"]].first()
said_by = by_utterance(held_out, speech).idxmax(axis=1)


# %% [markdown]
# How uncertain is an accuracy? The trials are not the 4,611 windows but the 148 utterances, since windows of the same
# utterance share their word and their recording. The 95 % intervals are those of a binomial probability with Jeffreys'
# prior.


# %%
def accuracy(right):
    """Share of successes with Jeffreys' 95 % interval."""
    hits, n = int(right.sum()), len(right)
    low, high = beta.ppf([0.025, 0.975], hits + 0.5, n - hits + 0.5)
    return {"trials": n, "accuracy": hits / n, "low": low, "high": high}


right = said_by == utterances["speaker"]
one_window = held_out.idxmax(axis=1) == speech["speaker"]
by_speaker = pd.DataFrame(
    {name: accuracy(right[utterances["speaker"] == name]) for name in speakers} | {"all": accuracy(right)}
).T.astype({"trials": int})
by_speaker["single windows"] = [*one_window.groupby(speech["speaker"], observed=True).mean(), one_window.mean()]
by_speaker.round(3)

# %%
figure, (left, right_ax) = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained")
confusion = pd.crosstab(utterances["speaker"], said_by)
left.imshow(confusion, cmap="Blues")
for i, j in np.ndindex(confusion.shape):
    left.text(
        j, i, confusion.iloc[i, j], ha="center", va="center", color="w" if confusion.iloc[i, j] > 30 else style.INK
    )
left.set(xticks=range(4), xticklabels=speakers, yticks=range(4), yticklabels=speakers)
left.set(xlabel="recognised as", ylabel="speaker", title="Number of utterances")
position = speech.groupby("utterance").cumcount()
heard = np.arange(1, 31)
shares = [
    (by_utterance(held_out[position < n], speech[position < n]).idxmax(axis=1) == utterances["speaker"]).mean()
    for n in heard
]
right_ax.plot(0.02 * heard, shares, "o-", ms=3)
right_ax.set(xlabel="seconds of speech", ylabel="share recognised", ylim=(0.5, 1.01), title="Accuracy")
plt.show()

# %% [markdown]
# ## The probabilities are overconfident
#
# That the answer is right does not mean that its probability is. Adding log densities treats windows 20 ms apart as
# independent, which they are not: the same vowel is counted again and again. We compare what the model claims
# (`claimed`, the mean probability of its answer) with what it achieves. Dividing the sum by a number, chosen on the
# same utterances, shows how many windows are worth one independent one.

# %%
log_sums = by_utterance(held_out, speech)
truth = pd.Categorical(utterances["speaker"], categories=speakers).codes


def log_loss(log_sums):
    return -np.log(np.maximum(softmax(log_sums.to_numpy(), axis=1)[range(len(truth)), truth], 1e-300)).mean()


divisors = np.arange(1, 31)
losses = [log_loss(log_sums / divisor) for divisor in divisors]
windows_worth_one = divisors[np.argmin(losses)]
claims = pd.DataFrame(
    {
        f"sum divided by {n}": {
            "claimed": softmax(log_sums.to_numpy() / n, axis=1).max(axis=1).mean(),
            "right": right.mean(),
            "log loss": log_loss(log_sums / n),
        }
        for n in (1, windows_worth_one)
    }
).T
claims.round(3)

# %% [markdown]
# ## Does the model recognise the speaker or the language?
#
# Now Allison gets two models, one of her English and one of her Spanish. We take away the one for the language being
# spoken, and let the other compete with the models of the three other speakers. If models recognise voices, it should
# still win.

# %%
others = [name for name in speakers if name != "allison"]
allison = speech[speech["speaker"] == "allison"]
her_voices = []
for f in range(5):
    known = allison[fold[allison.index] != f]
    models = {f"allison, {spoken}": fit_voice(known[known["language"] == spoken]) for spoken in ("en", "es")}
    her_voices.append(log_densities(models, allison[fold[allison.index] == f]))
crossed = pd.concat(her_voices).sort_index().join(held_out[others])

other = {"en": "allison, es", "es": "allison, en"}
questions = {}
for spoken, unseen in other.items():
    rows = speech[(speech["speaker"] == "allison") & (speech["language"] == spoken)]
    sums = by_utterance(crossed.loc[rows.index], rows)
    with_other = sums[[unseen, *others]].idxmax(axis=1)
    questions[f"speaks {spoken}, trained on {unseen[-2:]}: is Allison recognised?"] = accuracy(with_other == unseen)
    same = sums[["allison, en", "allison, es"]].idxmax(axis=1)
    questions[f"speaks {spoken}, trained on both: is the language recognised?"] = accuracy(same == f"allison, {spoken}")
follows = pd.DataFrame(questions).T.astype({"trials": int})
follows.round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3), layout="constrained", sharey=True)
for ax, spoken in zip(axes, other, strict=True):
    rows = speech[(speech["speaker"] == "allison") & (speech["language"] == spoken)]
    means = crossed.loc[rows.index].groupby(rows["utterance"]).mean()
    gaps = means.sub(means[f"allison, {spoken}"], axis=0).drop(columns=f"allison, {spoken}")
    gaps = gaps[[other[spoken], *others]]
    ax.boxplot(gaps, tick_labels=gaps.columns, showfliers=False, medianprops={"color": style.POSTERIOR, "lw": 2})
    ax.axhline(0, color=style.DATA, lw=0.8)
    ax.set(title=f"Allison speaks {spoken}", xlabel="model")
axes[0].set_ylabel("log density per window, relative\nto her own model of that language")
plt.show()

# %% [markdown]
# The model of the other language has a lower log density, so a model knows something about the language (or about the
# words, which differ between languages), and when both of Allison's models are available they tell which language she
# speaks. But the models of other speakers are lower still. The models recognise the speaker first and the language
# second. One reservation: Allison may have been recorded with one microphone, and the other speakers with others. These
# data cannot separate a voice from its microphone.
#
# ## Who speaks when: a hidden Markov model
#
# Now we put all 148 utterances in random order, as one recording in which speakers take turns. The hidden state is the
# speaker, the emission density of a state is the speaker's mixture (trained on the folds without the number), and a
# transition matrix says how long turns last. The forward-backward algorithm takes a dozen lines, Baum-Welch for the
# transitions a few more; the mixtures stay fixed. Turns are longer than windows, so neighbouring windows support each
# other.


# %%
def forward_backward(log_emission, transition):
    """P(state at t | all windows), (time, state), and expected numbers of transitions, (state, state)."""
    emission = np.exp(log_emission - log_emission.max(axis=1, keepdims=True))
    forward, backward = np.empty_like(emission), np.ones_like(emission)
    now = np.full(emission.shape[1], 1.0 / emission.shape[1])
    for t, likelihood in enumerate(emission):
        now = likelihood * (now if t == 0 else now @ transition)
        forward[t] = now = now / now.sum()
    for t in range(len(emission) - 2, -1, -1):
        back = transition @ (emission[t + 1] * backward[t + 1])
        backward[t] = back / back.sum()
    states = forward * backward
    ahead = emission[1:] * backward[1:]
    pairs = forward[:-1, :, None] * transition * ahead[:, None, :]
    return states / states.sum(axis=1, keepdims=True), (pairs / pairs.sum(axis=(1, 2), keepdims=True)).sum(axis=0)


def follow(log_emission, n_steps=15):
    """Baum-Welch for the transition matrix, with emissions fixed."""
    transition = np.full((4, 4), 0.02 / 3) + np.eye(4) * (0.98 - 0.02 / 3)
    for _ in range(n_steps):
        states, counts = forward_backward(log_emission, transition)
        transition = (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)  # one pseudo-count for each transition
    return states, transition


order = np.random.default_rng(4).permutation(len(utterances))
recording = pd.concat([held_out[speech["utterance"] == u] for u in order])
speaks = pd.Categorical(speech.loc[recording.index, "speaker"], categories=speakers).codes
changes = int((np.diff(speaks) != 0).sum())

alone = softmax(recording.to_numpy(), axis=1)
powers = (1, 2, 4, 8, 16, 32)
runs = {n: follow(recording.to_numpy() / n) for n in powers}


def evaluate(probability):
    hit, sure = probability.argmax(axis=1) == speaks, probability.max(axis=1) > 0.99
    return {
        "windows right": hit.mean(),
        "claimed": probability.max(axis=1).mean(),
        "above 99 %": sure.mean(),
        "right above 99 %": hit[sure].mean(),
        "changes": int((np.diff(probability.argmax(axis=1)) != 0).sum()),
        "log loss": -np.log(np.maximum(probability[range(len(speaks)), speaks], 1e-300)).mean(),
    }


followed = pd.DataFrame(
    {"window by window": evaluate(alone)}
    | {f"hidden Markov model, log densities / {n}": evaluate(states) for n, (states, _) in runs.items()}
).T.astype({"changes": int})
best_power = min(powers, key=lambda n: followed.loc[f"hidden Markov model, log densities / {n}", "log loss"])
states, transition = runs[best_power]
print(f"{len(recording)} windows, {changes} changes of speaker, mean turn {0.02 * len(recording) / changes:.2f} s")
followed.round(3)

# %% [markdown]
# As it stands (log densities / 1) the model helps, but it changes speakers too often and is overconfident, for the
# reason seen above: windows are not independent. Dividing log densities by a small number compensates for that. This is
# an ad hoc correction, chosen on this very recording, so its results are slightly optimistic.

# %%
figure, axes = plt.subplots(3, 1, figsize=(7.4, 4.6), layout="constrained", sharex=True, height_ratios=[0.25, 1, 1])
shown, colours = slice(0, 700), style.CLUSTERS[:4]
time = 0.02 * np.arange(len(recording))[shown]
axes[0].imshow(
    speaks[shown][None], aspect="auto", extent=(0, time[-1], 0, 1), cmap=ListedColormap(colours),
    vmin=-0.5, vmax=3.5, interpolation="nearest",
)  # fmt: skip
axes[0].set(yticks=[], title="True speaker")
for ax, probability, title in (
    (axes[1], alone, "Each window by itself"),
    (axes[2], states, f"Hidden Markov model, log densities / {best_power}"),
):
    ax.stackplot(time, probability[shown].T, colors=colours, labels=speakers)
    ax.set(ylim=(0, 1), ylabel="probability", title=title)
axes[2].set_xlabel("seconds of speech")
figure.legend(*axes[2].get_legend_handles_labels(), loc="outside right upper", title="speaker")
plt.show()

# %% [markdown]
# ## A second or two of each voice
#
# What if there are only the numbers one to four to train on? Then more components fit the few windows better and new
# speech worse. Here the posterior is useful: it predicts with the average over all parameters that are compatible with
# the few windows, whereas EM relies on a single estimate.

# %%
few, unheard = speech["number_spoken"].isin([1, 2, 3, 4]), speech[speech["number_spoken"] > 4]
models_of = {f"EM, {k} component{'s' * (k > 1)}": fit_voices(speech[few], n_components=k) for k in (1, 2, 4)}
models_of["posterior, 1 component"] = {
    name: BayesianGaussianMixture(1, random_state=1, progress=False, draws=1000).fit(part[features])
    for name, part in speech[few].groupby("speaker", observed=True)
}
of_unheard = utterances.loc[unheard["utterance"].unique()].sort_index()
little = {}
for title, models in models_of.items():
    density = pd.DataFrame(
        {name: model.score_samples(unheard[features]) for name, model in models.items()}, unheard.index
    )
    own = density.to_numpy()[range(len(unheard)), unheard["speaker"].cat.codes]
    answers = by_utterance(density, unheard).idxmax(axis=1)
    little[title] = accuracy(answers == of_unheard["speaker"]) | {"log density": own.mean()}
few_words = pd.DataFrame(little).T.astype({"trials": int})
print(speech[few].groupby("speaker", observed=True).size().mul(0.02).rename("seconds of training").to_string())
few_words.round(3)

# %% [markdown]
# The mean `log density` of windows under the model of their speaker separates the methods better than the accuracy
# does; the intervals of accuracy overlap between the posterior and EM with one component.
#
# ## Conclusions
#
# - **A mixture for each voice recognises the speaker of most new numbers, from about half a second of speech.** The
#   errors are not spread evenly: nearly all are in June's utterances, which an average accuracy would hide.
# - **It recognises the speaker more than the language**, as far as one bilingual speaker and sixty utterances can show.
# - **Do not trust its probabilities.** Windows are not independent, so sums over them are overconfident. Count
#   utterances as trials, and calibrate (one divisor was enough here) before a decision depends on a probability.
# - **A hidden Markov model needs nothing but the log density of the mixtures**, and knowing that people take turns
#   corrects many errors of single windows.
# - **With a few seconds of data, use fewer components, and average over what is not known.**

# %%
assert by_speaker.loc["all", "accuracy"] > 0.88
assert by_speaker.loc["all", "single windows"] < by_speaker.loc["all", "accuracy"] - 0.1
assert by_speaker["accuracy"].idxmin() == "june"
assert (~right & (utterances["speaker"] == "june")).sum() > 0.5 * (~right).sum()
assert claims["claimed"].iloc[0] > 0.99 > claims["right"].iloc[0]
assert abs(claims["claimed"].iloc[1] - claims["right"].iloc[1]) < 0.05
assert follows["low"].min() > 0.5
assert follows.filter(like="is Allison recognised", axis=0)["accuracy"].min() > 0.75
assert best_power > 1
best = followed.loc[f"hidden Markov model, log densities / {best_power}"]
assert best["windows right"] > followed.loc["window by window", "windows right"] + 0.08
assert abs(best["claimed"] - best["windows right"]) < 0.06
np.testing.assert_allclose(states.sum(axis=1), 1.0)
density = few_words["log density"]
assert density["EM, 4 components"] < density["EM, 2 components"] < density["EM, 1 component"]
assert density["EM, 1 component"] < density["posterior, 1 component"]
