"""The Gaussian mixture: parameters, covariance families, kernel, sufficient statistics, information criteria."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.mixture.alignment import align_to as align_to
    from bayesgmm.mixture.alignment import divergences as divergences
    from bayesgmm.mixture.by_row import row_densities as row_densities
    from bayesgmm.mixture.by_row import row_memberships as row_memberships
    from bayesgmm.mixture.components.component import COMPONENT as COMPONENT
    from bayesgmm.mixture.components.component import LOG_2PI as LOG_2PI
    from bayesgmm.mixture.components.component import Component as Component
    from bayesgmm.mixture.components.table import component_of as component_of
    from bayesgmm.mixture.covariance.family import FAMILIES as FAMILIES
    from bayesgmm.mixture.covariance.family import CovarianceFamily as CovarianceFamily
    from bayesgmm.mixture.covariance.family import Equivariance as Equivariance
    from bayesgmm.mixture.covariance.family import covariance_family as covariance_family
    from bayesgmm.mixture.covariance.floors import sandwich as sandwich
    from bayesgmm.mixture.covariance.parametrisation import COVARIANCE as COVARIANCE
    from bayesgmm.mixture.covariance.parametrisation import Parametrisation as Parametrisation
    from bayesgmm.mixture.draws import Draws as Draws
    from bayesgmm.mixture.far_rows import densities as densities
    from bayesgmm.mixture.incomplete import add_rows as add_rows
    from bayesgmm.mixture.incomplete import pointwise_rows as pointwise_rows
    from bayesgmm.mixture.information_criteria import Measured as Measured
    from bayesgmm.mixture.information_criteria import aic as aic
    from bayesgmm.mixture.information_criteria import bic as bic
    from bayesgmm.mixture.information_criteria import icl as icl
    from bayesgmm.mixture.information_criteria import measure as measure
    from bayesgmm.mixture.kernel import SUMS as SUMS
    from bayesgmm.mixture.kernel import Sums as Sums
    from bayesgmm.mixture.mixture import Mixture as Mixture
    from bayesgmm.mixture.mixture import column_statistics as column_statistics
    from bayesgmm.mixture.mixture import expected_statistics as expected_statistics
    from bayesgmm.mixture.statistics import Statistics as Statistics

__getattr__, __dir__, __all__ = lazy(__name__)
