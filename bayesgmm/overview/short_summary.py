"""`Overview`: the short summary of a fit, as text and as HTML."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from bayesgmm._common import Array, counted, decimals_of, sentence, shown, table
from bayesgmm.overview.messages import BAD, DOUBTFUL, GOOD, UNKNOWN, VERDICTS, Fragment, Line

SURE = 0.9  # membership probability from which a row counts as clearly assigned
LEVEL = 0.05  # of p-values
_NOTABLE, _WIDER = 0.3, 1.5  # sd of all rows by which a mean differs, and ratio of sds, to be worth a word
_MOST_DIFFERENCES, _MOST_CLUSTERS = 3, 12
_SMALL = 0.02  # share that is shown with a decimal
_WIDTH, _NAME, _NO_BREAK = 80, 24, "\u00a0"
# White text on these has a contrast of 4.5 at least, on light pages and on dark ones.
_COLOURS = {GOOD: "#1a7f37", DOUBTFUL: "#8a5a00", BAD: "#c21f2b", UNKNOWN: "#59636e"}
_MARKS = {GOOD: "✓", DOUBTFUL: "!", BAD: "✗", UNKNOWN: "?"}


@dataclass(frozen=True, eq=False)
class Cluster:
    """One cluster: how large, and what sets it apart.

    Attributes
    ----------
    name : str
        Its number in tables and plots.
    share : float
        Of the rows.
    lower, upper : float, optional
        Interval of the share.
    n_rows : int, optional
        Rows of which it is the most probable cluster.
    apart : (feature,)
        Difference of its means from those of all rows, in standard deviations of all rows.
    profile : tuple of str
        The largest of these differences, in the data's units.
    """

    name: str
    share: float
    lower: float | None
    upper: float | None
    n_rows: int | None
    apart: Array
    profile: tuple[str, ...]

    @property
    def size(self) -> str:
        """The share, with its interval if there is one."""
        share = shown(self.share, "share" if self.share >= _SMALL else "small share")
        if self.lower is None or self.upper is None or self.share == 1.0:
            return share
        return share + sentence(Fragment.INTERVAL, lower=self.lower, upper=self.upper)

    @property
    def told(self) -> str:
        """What sets it apart."""
        return ", ".join(self.profile)


@dataclass(frozen=True, repr=False, eq=False)
class Overview:
    """The short summary of a fit; printing it shows five lines and a line for each cluster.

    Attributes
    ----------
    clusters : tuple of Cluster
    n_components : int
        Fitted, which may be more than there are clusters.
    n_rows : int, optional
    verdict : str
        A key of `bayesgmm.overview.messages.VERDICTS`.
    by_partition : bool
        Whether clusters are those of the best single partition, since components have no labels of their own.
    uncertain, n_judged : int, optional
        Rows whose most probable cluster has a probability below 90 %, and of how many.
    p_value : float, optional
        Of the hypothesis of a Gaussian mixture, if it was tested.
    next_step : str
    noise : float
        The share of the rows that is noise.
    """

    clusters: tuple[Cluster, ...]
    n_components: int
    n_rows: int | None
    verdict: str
    by_partition: bool
    uncertain: int | None
    n_judged: int | None
    p_value: float | None
    next_step: str
    noise: float = 0.0

    @property
    def found(self) -> str:
        """How many clusters of how many rows."""
        n = len(self.clusters)
        fitted = sentence(Fragment.COMPONENTS, components=counted(self.n_components, "component"))
        return sentence(
            Line.FOUND,
            clusters=counted(n, "cluster"),
            rows=sentence(Fragment.ROWS, rows=counted(self.n_rows, "row")) if self.n_rows else "",
            how=(fitted if n < self.n_components else "")
            + (Fragment.PARTITION if self.by_partition else "")
            + (sentence(Fragment.NOISE, share=self.noise) if self.noise else ""),
        )

    @property
    def quality(self) -> str:
        """Whether the verdict is good, doubtful or bad."""
        return VERDICTS[self.verdict][0]

    @property
    def convergence(self) -> str:
        """The verdict, and what it means."""
        return sentence(Line.VERDICT, verdict=self.verdict, meaning=VERDICTS[self.verdict][1])

    @property
    def is_gaussian(self) -> bool | None:
        """Whether a Gaussian mixture is not rejected; None if it was not tested."""
        return None if self.p_value is None else self.p_value > LEVEL

    @property
    def shape(self) -> str:
        """Whether the rows are a Gaussian mixture."""
        if self.p_value is None:
            return sentence(Line.NOT_CHECKED)
        return sentence(Line.GAUSSIAN if self.is_gaussian else Line.NOT_GAUSSIAN, p=self.p_value)

    @property
    def uncertainty(self) -> str:
        """How many rows have no clear cluster; empty if not known."""
        if self.uncertain is None or not self.n_judged:
            return ""
        share = self.uncertain / self.n_judged
        return sentence(Line.UNCERTAIN, uncertain=self.uncertain, n=self.n_judged, share=share, sure=SURE)

    @property
    def next(self) -> str:
        """What to do next."""
        return sentence(Line.NEXT, step=self.next_step)

    @property
    def listed_clusters(self) -> list[Cluster]:
        """The clusters, or of many the largest."""
        largest = sorted(self.clusters, key=lambda cluster: -cluster.share)[:_MOST_CLUSTERS]
        return [cluster for cluster in self.clusters if cluster in largest]

    def __str__(self) -> str:
        rest = [self.convergence, self.shape, self.uncertainty, self.next]
        parts = [part for line in rest if line for part in _wrapped(line)]
        return "\n".join([*_wrapped(self.found), *self._cluster_lines(), *parts])

    __repr__ = __str__

    def _cluster_lines(self) -> list[str]:
        some = self.listed_clusters
        name, size = (max(map(len, texts)) for texts in ([c.name for c in some], [c.size for c in some]))
        lines = []
        for c in some:
            before = f"  {c.name:>{name}}  {c.size:{size}}  ".replace(" ", _NO_BREAK)
            told = ", ".join(part.replace(" ", _NO_BREAK) for part in c.profile)
            lines += _wrapped(before + told, len(before))
        return [*lines, f"  {self._more()}"] if self._more() else lines

    def _more(self) -> str:
        n = len(self.clusters) - len(self.listed_clusters)
        return sentence(Fragment.MORE, n=n) if n else ""

    def html(self) -> str:
        """The same in HTML, with badges in colour."""
        rows = [[c.name, c.size, shown(c.n_rows), c.told] for c in self.listed_clusters]
        lines = [self.uncertainty, self.next]
        return "".join(
            [
                f"<p><strong>{escape(self.found)}</strong></p>",
                table(("cluster", "share of rows", "rows", "what sets it apart"), rows, labelled=True),
                f"<p>{escape(self._more())}</p>" if self._more() else "",
                *(f"<p>{mark} {escape(text)}</p>" for mark, text in self.badges()),
                *(f"<p>{escape(line)}</p>" for line in lines if line),
            ]
        )

    def badges(self) -> list[tuple[str, str]]:
        """Verdict and shape of the clusters: a badge in HTML, and what it means."""
        gaussian = {True: (GOOD, "Gaussian"), False: (BAD, "not Gaussian"), None: (UNKNOWN, "shape not checked")}
        verdict, meaning = self.convergence.split(". ", 1)
        return [(badge(self.quality, verdict), meaning), (badge(*gaussian[self.is_gaussian]), self.shape)]


def badge(quality: str, text: str) -> str:
    """A word on its colour, with a sign for those who do not see it."""
    style = (
        f"background:{_COLOURS[quality]};color:#ffffff;border-radius:1em;padding:.15em .7em;white-space:nowrap;"
        "-webkit-print-color-adjust:exact;print-color-adjust:exact"
    )
    return f'<span style="{style}">{_MARKS[quality]} {escape(text)}</span>'


def _wrapped(line: str, indent: int = 0) -> list[str]:
    """A line in lines of at most 80 columns, broken at ordinary spaces only."""
    parts = textwrap.wrap(line, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [part.replace(_NO_BREAK, " ") for part in parts]


# ---- profiles


def profiles(
    shares: Array, means: Array, sds: Array, *, names: Sequence[str], n_rows: float
) -> list[tuple[Array, tuple[str, ...]]]:
    r"""What sets each cluster apart: differences (feature,) from all rows, and the largest in words.

    All rows have the mean :math:`m = \sum_k w_k \mu_k` and the variance :math:`\sum_k w_k \{s_k^2 + (\mu_k - m)^2\}`.
    """
    overall = shares @ means
    spread = np.sqrt(shares @ (sds**2 + (means - overall) ** 2))
    safe = np.where(spread > 0, spread, 1.0)
    apart = (means - overall) / safe
    digits = sds / np.sqrt(np.maximum(shares[:, None] * n_rows, 1.0))
    short = [_short(name) for name in names]
    return [
        (apart[k], _profile(means[k], apart[k], sds[k] / safe, names=short, errors=digits[k]))
        for k in range(len(shares))
    ]


def _profile(means: Array, apart: Array, wider: Array, *, names: Sequence[str], errors: Array) -> tuple[str, ...]:
    largest = [int(j) for j in np.argsort(-np.abs(apart), kind="stable") if abs(apart[j]) >= _NOTABLE]
    if largest:
        return tuple(_difference(names[j], means[j], apart[j], errors[j]) for j in largest[:_MOST_DIFFERENCES])
    j = int(np.argmax(np.abs(np.log(np.maximum(wider, 1e-300)))))
    if len(apart) and max(wider[j], 1.0 / max(wider[j], 1e-300)) >= _WIDER:
        return (sentence(Fragment.WIDER, feature=names[j], ratio=float(wider[j])),)
    return (Fragment.NONE.value,)


def _difference(name: str, mean: float, sds: float, error: float) -> str:
    side = "above" if sds > 0 else "below"
    value = shown(float(mean), decimals_of(float(error), mean=float(mean)))
    return sentence(Fragment.DIFFERENCE, feature=name, value=value, sds=abs(float(sds)), side=side)


def _short(name: str) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
