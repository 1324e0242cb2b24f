"""Report and displays of a posterior."""

import os
import warnings
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import listing, paragraph, table
from bayesgmm.data import MISSING, IncompleteData
from bayesgmm.diagnostics import diagnose
from bayesgmm.estimators._display import NotebookMixin
from bayesgmm.estimators.gaussian_mixture import GaussianMixture
from bayesgmm.exceptions import DegenerateComponentError, InputError
from bayesgmm.io import check_target
from bayesgmm.label_switching import component_record
from bayesgmm.mixture import Mixture, align_to
from bayesgmm.posterior import data_of

if TYPE_CHECKING:
    from bayesgmm.overview import Overview


class PosteriorInHtmlMixin(NotebookMixin):
    """Report and notebook display of an estimator that holds a posterior."""

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        em: GaussianMixture | None = None,
        title: str = "",
        checks: bool = True,
        overwrite: bool = False,
        progress: bool = True,
    ) -> None:
        """Write an HTML report of the fit, with EM and the posterior.

        It opens with the short summary that ``print(fit)`` shows, and a figure. Sections: data, EM, posterior,
        convergence, components, partition, comparison (`bayesgmm.compare`), model checks (`bayesgmm.check_model`), most
        with a figure, and sentences computed from the results; and the exact code and versions that reproduce the fits.
        The file is self-contained and needs no network.

        Parameters
        ----------
        path : str or path
        em : GaussianMixture, optional
            A fit of the same rows and number of components, to compare with the posterior; by default maximum
            likelihood, fitted now.
        title : str
            The heading.
        checks : bool
            Include model checks, which refit the model to simulated data: the slowest part.
        overwrite : bool
            Replace an existing file. It stays unchanged if writing fails.
        progress : bool
            Show a bar, in a terminal or notebook only.

        Raises
        ------
        InputError
            If the file exists and ``overwrite`` is false, or its folder does not exist, or ``em`` has another shape.

        See Also
        --------
        GaussianMixture.report : EM alone.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from bayesgmm import BayesianGaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()[::4]
        >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "geyser.html")
        ...     fit.report(path, title="Old Faithful", checks=False)
        ...     "Verdict: converged." in path.read_text(encoding="utf-8")
        True
        """
        from bayesgmm.report import ReportSettings, write_report

        check_is_fitted(self)
        check_target(path, overwrite=overwrite)
        fit: Any = self
        fit.em_.component.check_gaussian("a report")
        found, notes = maximum_likelihood(fit) if em is None else (_checked(em, fit), ())
        mixture = fit.em_ if found is None else in_labels_of(fit.em_, found.mixture_)
        settings = ReportSettings(title=title, overwrite=overwrite, progress=progress, checks=checks)
        write_report(fit, found, mixture, path, settings, notes=notes)

    def _summarized(self) -> "Overview":
        from bayesgmm.overview import in_common_labels, overview_of

        fit: Any = self
        record, found = component_record(fit.posterior_), diagnose(fit.posterior_)
        return overview_of(in_common_labels(fit.posterior_, record, found), record, found)

    def _components_html(self) -> str:
        from bayesgmm.comparison import component_intervals

        fit: Any = self
        sizes, record = fit.posterior_["posterior"].sizes, component_record(fit.posterior_)
        told = paragraph(f"{sizes['chain']} chains of {sizes['draw']:,} draws.")
        if "laplace" in (known := fit.posterior_.attrs):
            effective = f"{sizes['chain'] * sizes['draw']:,} draws, k-hat {known['k_hat']:.2f}"
            told = paragraph(f"Laplace approximation: {effective}, {known['effective_draws']:,.0f} effective.")
        if record is not None and not record.identified:
            return told + paragraph("The components are not identified:") + listing(record.findings)
        return told + table(*component_intervals(fit.posterior_))


def maximum_likelihood(fit: Any) -> tuple[GaussianMixture | None, tuple[str, ...]]:
    """EM without a prior on the rows of a posterior, and what it warned of; none where it broke down."""
    tree, data = fit.posterior_, data_of(fit.posterior_)
    noise = False if fit.noise_ is None else fit.noise_.volume if fit.noise_.given else True
    missing = MISSING[isinstance(data, IncompleteData)]
    seed = int(tree.attrs["seed"])
    em = GaussianMixture(
        fit.n_components, covariance_type=fit.covariance_type, noise=noise, missing=missing, random_state=seed
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            em.fit(data.entries, sample_weight=data.row_weights, labels=data.allowed)
        except (DegenerateComponentError, InputError) as error:
            return None, (str(error),)
    return em, tuple(str(each.message) for each in caught)


def in_labels_of(reference: Mixture, mixture: Mixture) -> Mixture:
    """The mixture with its components in the order of another's."""
    return mixture.permute(align_to(reference, mixture.weights, mixture.means, mixture.full_covariances))


def _checked(em: GaussianMixture, fit: Any) -> GaussianMixture:
    check_is_fitted(em)
    if em.mixture_.means.shape != fit.em_.means.shape:
        raise InputError(
            expected=f"em with {fit.n_components} components of {fit.em_.n_features} features",
            got=f"{em.mixture_.n_components} of {em.mixture_.n_features}",
        )
    return em
