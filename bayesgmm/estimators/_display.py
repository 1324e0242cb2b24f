"""Report, displays and progress of a fit by EM."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import PATIENCE, folded, paragraph, progress_bar, shown, table
from bayesgmm.data import refuse_labelled
from bayesgmm.em import Effort, EMState, StartCallback, Starts
from bayesgmm.estimators._attributes import as_sklearn
from bayesgmm.estimators._validation import as_data, validated
from bayesgmm.exceptions import ClusterError, InterruptedWarning, SingleBestStartWarning, warn_user
from bayesgmm.mixture import Mixture

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture as SklearnMixture

    from bayesgmm.overview import Overview

_MOST_COMPONENTS = 20


class NotebookMixin:
    """The short summary of a fit: where it is printed, and in notebooks below scikit-learn's diagram."""

    def __str__(self) -> str:
        """The short summary of a fit; before it, the estimator's parameters."""
        if not hasattr(self, "means_"):
            return repr(self)
        try:
            return str(self._overview())
        except Exception:  # showing an estimator never fails: attributes may be set by hand to what has no summary
            return repr(self)

    def _get_fitted_attr_html(self, doc_link: str = "") -> Sequence[str]:
        """No table of attributes: for it scikit-learn would compute every property, the PyMC model and labels too."""
        return ()

    def _repr_html_inner(self) -> str:
        diagram: str = super()._repr_html_inner()  # type: ignore[misc]
        return diagram + self._found_or_nothing()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += self._found_or_nothing()
        return bundle

    def _found_or_nothing(self) -> str:
        """The fit in HTML; nothing before it, or where attributes were set by hand to what cannot be shown."""
        if not hasattr(self, "means_"):
            return ""
        try:
            found = self._overview().html() + folded("Components", self._components_html())
        except Exception:  # showing an estimator never fails
            return ""
        return f'<div style="margin-top: 0.5em">{found}</div>'

    def _overview(self) -> "Overview":
        """The short summary, made when it is first asked for."""
        means, known = self.means_, self.__dict__.get("_shown")  # type: ignore[attr-defined]
        if known is None or known[0] is not means:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # which the fit gave, and diagnose gives
                known = self._shown = means, self._summarized()
        return known[1]

    def _summarized(self) -> "Overview":
        """The short summary of the fit."""
        raise NotImplementedError

    def _components_html(self) -> str:
        """A table of the components."""
        raise NotImplementedError


class EMInHtmlMixin(NotebookMixin):
    """Report and notebook display of an estimator fitted by EM."""

    def report(
        self,
        path: str | os.PathLike[str],
        X: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        title: str = "",
        overwrite: bool = False,
    ) -> None:
        """Write an HTML report of the fit: the answer first, then data, starts, components, partition, code.

        The file is self-contained and needs no network.

        Parameters
        ----------
        path : str or path
        X : (obs, feature)
            The rows of the fit, which the estimator does not store.
        sample_weight : (obs,), optional
            Frequency weights of the fit.
        title : str
            The heading.
        overwrite : bool
            Replace an existing file. It stays unchanged if writing fails.

        Raises
        ------
        InputError
            If the file exists and ``overwrite`` is false, or its folder does not exist.

        See Also
        --------
        BayesianGaussianMixture.report : EM and the posterior.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> fit = GaussianMixture(2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "geyser.html")
        ...     fit.report(path, X, title="Old Faithful")
        ...     "EM reached a log-likelihood of -1130.26" in path.read_text(encoding="utf-8")
        True
        """
        from bayesgmm.report import ReportSettings, Sample, write_em_report

        check_is_fitted(self)
        refuse_labelled(self, "a report")
        estimator: Any = self
        estimator.mixture_.component.check_gaussian("a report")
        data = as_data(validated(self, X), sample_weight)
        sample = Sample(data.entries, feature_names(self), data.row_weights)
        write_em_report(self, sample, path, ReportSettings(title=title, overwrite=overwrite))

    def plot(self, X: ArrayLike, **settings: Any) -> Any:
        """Plot rows and components: `bayesgmm.plot_components`, which takes ``settings``. Rows of noise are grey.

        Parameters
        ----------
        X : (obs, feature)
            Rows, which the estimator does not store.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> figure = GaussianMixture(2, random_state=0).fit(X).plot(X)
        """
        from bayesgmm.plots import one_draw, plot_components

        self._identified_mixture().component.check_gaussian("plots of components")
        estimator: Any = self
        names, mixture = feature_names(self), estimator.mixture_
        drawn = one_draw(mixture, names, as_data(validated(self, X)).entries)
        return plot_components(drawn, force=True, **settings)

    def to_sklearn(self) -> "SklearnMixture":
        """scikit-learn's `GaussianMixture` with these parameters, whose predictions are the same, for deployment.

        Families that scikit-learn does not have are diagonal, and become ``"diag"``.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> fit = GaussianMixture(2, random_state=0).fit(X)
        >>> bool((fit.to_sklearn().predict(X) == fit.predict(X)).all())
        True
        """
        check_is_fitted(self)
        return as_sklearn(self)

    def _identified_mixture(self) -> Mixture:
        check_is_fitted(self)
        estimator: Any = self
        mixture: Mixture = estimator.mixture_.components
        return mixture

    def _summarized(self) -> "Overview":
        from bayesgmm.overview import overview_of_em

        return overview_of_em(self, feature_names(self))

    def _components_html(self) -> str:
        from bayesgmm.comparison import component_cells

        estimator: Any = self
        weights = [f"{weight:.3f}" for weight in estimator.weights_[:_MOST_COMPONENTS]]
        means = [[shown(float(value)) for value in row] for row in estimator.means_[:_MOST_COMPONENTS]]
        left_out = len(estimator.weights_) - len(weights)
        more = paragraph(f"and {left_out:,} more components") if left_out else ""
        return self._told() + table(*component_cells(feature_names(self), weights, means)) + more

    def _told(self) -> str:
        """The maximum and how it was found; nothing for a mixture whose attributes were set by hand."""
        estimator: Any = self
        if not hasattr(self, "starts_"):
            return ""
        starts = estimator.starts_
        end = "converged" if estimator.converged_ else "had not converged"
        return paragraph(
            f"EM {end} after {estimator.n_iter_:,} steps: log-likelihood {estimator.log_likelihood_:.2f}, "
            f"BIC {estimator.bic():.2f}; {starts.n_best_reached} of {starts.n_starts} starts reached this optimum."
        )


def feature_names(estimator: Any) -> list[str]:
    """Names of columns, or x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(np.shape(estimator.means_)[1])] if names is None else [str(name) for name in names]


@contextmanager
def progress_of_starts(
    *, verbose: int, interval: int, n_init: int | None, effort: Effort, show: bool = True
) -> Iterator[StartCallback | None]:
    """A callback that shows how starts go; None where nobody watches."""
    if verbose:
        yield _printed(verbose, interval)
        return
    description, n_starts = ("EM starts", n_init) if n_init else ("EM starts, at most", effort.most_starts)
    with progress_bar(description, show=show, patience=PATIENCE) as move:
        yield None if move is None else lambda index, _state: move(index, n_starts)


def _printed(verbose: int, interval: int) -> StartCallback:
    from rich.console import Console

    console = Console(highlight=False)
    due: dict[int, int] = {}

    def show(index: int, state: EMState) -> None:
        if index not in due:
            console.print(f"Start {index}")
        elif verbose > 1 and state.iteration >= due[index]:
            console.print(f"Start {index}, step {state.iteration}: objective {state.objective:.6f}")
        else:
            return
        due[index] = state.iteration + interval

    return show


def warn_of_fit(estimator: Any, starts: Starts, lost: ClusterError | None) -> None:
    """Of an interruption, a best start that did not converge, or an optimum that one start reached."""
    if starts.interrupted:
        why = "Interrupted" if estimator.max_seconds is None else "Interrupted, or out of max_seconds"
        why = why if lost is None else str(lost).removesuffix(".")
        text = f"{why}: the best mixture of the {starts.n_starts} starts so far was kept."
        warn_user(text, InterruptedWarning)
    elif not estimator.converged_ and estimator.max_iter > 0:
        text = (
            "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
            f"tol, or check for degenerate data. (max_iter={estimator.max_iter}, tol={estimator.tol})"
        )
        warn_user(text, ConvergenceWarning)
    elif starts.best_is_doubtful:
        best = ", ".join(f"{value:.3f}" for value in starts.optimum_objectives[:2])
        text = (
            f"Only one of {starts.n_starts} starts reached the best of {starts.n_optima} optima (objectives {best}"
            f"{', ...' if starts.n_optima > 2 else ''}), so a better one may have been missed. Make more starts: "
            f"n_init={3 * starts.n_starts}, or effort='thorough'."
        )
        warn_user(text, SingleBestStartWarning)
