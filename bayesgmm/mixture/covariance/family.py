"""Covariance families: mclust's fourteen, by scikit-learn's names where it has them.

A family is a parametrisation of one covariance (see `bayesgmm.mixture.covariance.parametrisation`) and a sharing: each
component its own covariance, or one for all. Three shapes of the same covariances are in use:

- *covariances*, scikit-learn's for its four families: full (K, D, D), tied (D, D), diag (K, D), spherical (K,);
  full matrices (K, D, D) for the others;
- *compact* covariances, the same for all families but where most entries are zero: full matrices (K, D, D), or
  variances (K, D) where matrices are diagonal;
- *factors* (G, rows, columns), G = K or 1: lower Cholesky factors (G, D, D) for full residuals, standard
  deviations (G, 1, D) for diagonal and (G, 1, 1) for spherical ones. A *block* is one of the G.
"""

import re
from dataclasses import dataclass
from enum import Flag
from functools import cache
from typing import Self

import numpy as np

from bayesgmm._common import Array, Covariances, Factors
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.covariance.common_orientation import CommonAxes, CommonAxesEqualVolumes
from bayesgmm.mixture.covariance.diagonal import Diagonal
from bayesgmm.mixture.covariance.equal_shape import EqualShape, Proportional
from bayesgmm.mixture.covariance.equal_volume import EqualVolumeDiagonal, EqualVolumeFull
from bayesgmm.mixture.covariance.full import Full
from bayesgmm.mixture.covariance.low_rank.factor_analytic import FactorAnalytic
from bayesgmm.mixture.covariance.own_orientation import EqualEigenvalues, OwnVolumes
from bayesgmm.mixture.covariance.parametrisation import Parametrisation
from bayesgmm.mixture.covariance.spherical import Spherical
from bayesgmm.validation import check_whole, told

_MANY = 1_000  # features: there the sizes of covariances tell which are included in which


class Equivariance(Flag):
    """The maps x -> a + B x of the rows under which a fit gives the same answer in other coordinates.

    Shifts and one common scale always belong to them. ``SCALES`` are those with diagonal B, one scale a feature;
    ``ROTATIONS`` those with B a rotation or reflection times a common scale; products of both are all invertible B
    (singular value decomposition), ``AFFINE``. What a family and a prior have in common is ``family & prior``.

    Examples
    --------
    >>> from bayesgmm.mixture import Equivariance, covariance_family
    >>> covariance_family("full").equivariance & covariance_family("diag").equivariance
    <Equivariance.SCALES: 1>
    """

    __module__ = "bayesgmm.mixture"

    COMMON_SCALE = 0
    SCALES = 1
    ROTATIONS = 2
    AFFINE = 3


@dataclass(frozen=True, slots=True)
class CovarianceFamily:
    """One row of the table.

    Attributes
    ----------
    name, code : str
        scikit-learn's name (ours where it has none) and mclust's code.
    parametrisation : Parametrisation
        Of the covariances: full, diagonal or spherical, each its own, or with volumes, shapes or axes tied together.
    equivariance : Equivariance
        The maps of the rows that take the family's mixtures to mixtures of the family.
    shared : bool
        Whether one covariance serves all components.
    in_scikit_learn : bool
        Whether scikit-learn has the family, and so a shape for its covariances.
    description : str
        What the full matrices are, for families that it does not have.
    part : str
        The family of some features, marginal or given others, if it is another.
    """

    __module__ = "bayesgmm.mixture"

    name: str
    code: str
    parametrisation: Parametrisation
    equivariance: Equivariance
    shared: bool
    in_scikit_learn: bool = True
    description: str = ""
    part: str = ""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return covariance_family, (self.name,)

    @property
    def as_matrices(self) -> bool:
        """Whether ``covariances_`` are matrices."""
        return not self.in_scikit_learn or len(self.parametrisation.natural_shape(1)) == 2

    @property
    def tied(self) -> bool:
        """Whether covariances of several components are tied together, other than that all are the same."""
        return self.restriction(2, 2) is not None or self.parametrisation.ties

    @property
    def diagonal(self) -> bool:
        """Whether covariances are diagonal matrices, so that variances say all."""
        return not self.parametrisation.correlated

    @property
    def turns(self) -> bool:
        """Whether rotations of the rows turn correlated covariances to others of the family."""
        return self.parametrisation.correlated and bool(self.equivariance & Equivariance.ROTATIONS)

    def for_posterior(self) -> Self:
        """The family itself, if its posterior can be sampled and its prior has a density.

        Raises
        ------
        InputError
            If it can only be fitted.
        """
        if self.parametrisation.explorable:
            return self
        known = ", ".join(repr(name) for name in NAMES if FAMILIES[name].parametrisation.explorable)
        mode = "" if "a prior" in self.parametrisation.lacks else ", with prior= to the mode of the posterior"
        raise InputError(
            expected=f"covariance_type one of {known} for a posterior",
            got=f"{self.name!r}",
            hint=f"{self.parametrisation.unexplorable} "
            f"GaussianMixture(covariance_type={self.name!r}) fits by EM{mode}, and "
            "its bootstrap() tells uncertainties; 'full' includes these covariances.",
        )

    def having(self, what: str) -> Self:
        """The family itself, if its fits have that.

        Raises
        ------
        InputError
            If they do not.
        """
        if what not in self.parametrisation.lacks:
            return self
        raise InputError(
            expected=f"another covariance_type for {what}", got=f"{self.name!r}", hint=self.parametrisation.lacks[what]
        )

    @property
    def unrestricted(self) -> "CovarianceFamily":
        """The family, one of scikit-learn's, of any matrices or of any diagonal ones, which includes this one."""
        return FAMILIES["full" if self.parametrisation.correlated else "diag"]

    @property
    def of_part(self) -> "CovarianceFamily":
        """The family of the mixtures of some features, marginal or given others."""
        return covariance_family(self.part) if self.part else self

    def n_blocks(self, n_components: int) -> int:
        """How many distinct covariances there are."""
        return 1 if self.shared else n_components

    def block_shape(self, n_features: int) -> tuple[int, int]:
        """Rows and columns of one factor, and of one component's second moment."""
        return self.parametrisation.block_shape(n_features)

    def block_size(self, n_features: int) -> int:
        """Free parameters of one covariance."""
        return self.parametrisation.size(n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Free parameters of the whole mixture: weights, means and covariances."""
        return n_components - 1 + n_components * n_features + self.n_free(n_components, n_features)

    def n_free(self, n_components: int, n_features: int) -> int:
        """Free parameters of all covariances."""
        return self.parametrisation.n_free(self.n_blocks(n_components), n_features)

    def restriction(self, n_components: int, n_features: int) -> Array | None:
        """See `Parametrisation.restriction`; for one component nothing is tied together."""
        return self.parametrisation.restriction(n_components, n_features) if n_components > 1 else None

    def covariances_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Shape of ``covariances_``: scikit-learn's if it has the family, full matrices otherwise."""
        if not self.in_scikit_learn:
            return (n_components, n_features, n_features)
        natural = self.parametrisation.natural_shape(n_features)
        return natural if self.shared else (n_components, *natural)

    def factors(self, covariances: Covariances, n_features: int) -> Factors:
        """Covariances to factors.

        Raises ``numpy.linalg.LinAlgError`` unless they are positive definite, and full matrices of the family.
        """
        if self.in_scikit_learn:
            blocks = np.ascontiguousarray(covariances, dtype=np.float64)
            return self.parametrisation.factors(blocks.reshape(-1, *self.block_shape(n_features)))
        matrices = np.asarray(covariances, dtype=np.float64)
        factors = self._nearest(self.parametrisation.blocks(matrices[..., :1, :, :] if self.shared else matrices))
        sds = np.sqrt(np.maximum(np.diagonal(matrices, axis1=-2, axis2=-1), 0.0))
        expected = self.parametrisation.matrices(factors, n_features)
        if (np.abs(matrices - expected) > 1e-8 * sds[..., None, :] * sds[..., :, None]).any():
            raise np.linalg.LinAlgError(f"{self.name} covariances are {self.description}")
        return factors.reshape(-1, *self.block_shape(n_features))

    def _nearest(self, blocks: Array) -> Factors:
        """Factors (..., G, rows, columns) of members of the family, see `Parametrisation.nearest`."""
        factors = self.parametrisation.factors(blocks)
        return self.parametrisation.nearest(factors) if self.tied and blocks.shape[-3] > 1 else factors

    def covariances(self, factors: Factors, n_components: int, n_features: int) -> Covariances:
        """Factors (..., G, rows, columns) to the shape of ``covariances_``, with any leading axes."""
        if not self.in_scikit_learn:
            return self.expand(factors, n_components, n_features)
        blocks = self.parametrisation.natural(factors)
        return np.take(blocks, 0, axis=factors.ndim - 3) if self.shared else blocks

    def precision_factors(self, factors: Factors) -> Factors:
        """Inverse factors L^-1, in the same shape."""
        return self.parametrisation.inverse(factors)

    def log_precision_determinants(self, precision_factors: Factors, n_features: int) -> Array:
        """log |L^-1| per block."""
        return self.parametrisation.log_determinants(precision_factors, n_features)

    def expand(self, factors: Factors, n_components: int, n_features: int) -> Covariances:
        """Factors (..., G, rows, columns) to full matrices (..., K, D, D), with any leading axes."""
        blocks = self.parametrisation.matrices(factors, n_features)
        return np.broadcast_to(blocks, (*blocks.shape[:-3], n_components, n_features, n_features)).copy()

    def compress(self, covariances: Covariances) -> Covariances:
        """Full matrices (..., K, D, D) to the shape of ``covariances_``, averaging what the family ties together."""
        axis, one = covariances.ndim - 3, self.parametrisation
        if self.in_scikit_learn:
            blocks = one.compress(covariances)
            return blocks.mean(axis=axis) if self.shared else blocks.copy()
        matrices = covariances.mean(axis=axis, keepdims=True) if self.shared else covariances
        return self.expand(self._nearest(one.blocks(matrices)), *covariances.shape[-3:-1])

    def compact(self, factors: Factors, n_components: int, n_features: int) -> Array:
        """Factors (..., G, rows, columns) to compact covariances, with any leading axes."""
        if not self.diagonal:
            return self.expand(factors, n_components, n_features)
        variances = np.square(factors[..., 0, :])
        return np.broadcast_to(variances, (*variances.shape[:-2], n_components, n_features)).copy()

    def compact_factors(self, compact: Array) -> Factors:
        """Compact covariances to factors (..., G, rows, columns), averaging what the family ties together."""
        blocks = self.parametrisation.uncorrelated(compact) if self.diagonal else compact
        return self._nearest(blocks.mean(axis=-3, keepdims=True) if self.shared else blocks)

    def matrices(self, compact: Array) -> Covariances:
        """Compact covariances to full matrices (..., K, D, D)."""
        return compact[..., None] * np.eye(compact.shape[-1]) if self.diagonal else compact

    def includes(self, other: "CovarianceFamily") -> bool:
        """Whether the other's covariances are members of this family, as far as sizes and sharing tell."""
        if self is other or self.tied:
            return self is other
        return self.block_size(_MANY) >= other.block_size(_MANY) and (other.shared or not self.shared)


_FULL, _DIAGONAL, _SPHERICAL = Full(), Diagonal(), Spherical()
_FAMILIES = (
    CovarianceFamily("full", "VVV", _FULL, Equivariance.AFFINE, shared=False),
    CovarianceFamily("tied", "EEE", _FULL, Equivariance.AFFINE, shared=True),
    CovarianceFamily("diag", "VVI", _DIAGONAL, Equivariance.SCALES, shared=False),
    CovarianceFamily("spherical", "VII", _SPHERICAL, Equivariance.ROTATIONS, shared=False),
    CovarianceFamily(
        "tied_diag",
        "EEI",
        _DIAGONAL,
        Equivariance.SCALES,
        shared=True,
        in_scikit_learn=False,
        description="one diagonal matrix, the same for all components",
    ),
    CovarianceFamily(
        "tied_spherical",
        "EII",
        _SPHERICAL,
        Equivariance.ROTATIONS,
        shared=True,
        in_scikit_learn=False,
        description="one multiple of the identity, the same for all components",
    ),
    CovarianceFamily(
        "VEI",
        "VEI",
        EqualShape(),
        Equivariance.SCALES,
        shared=False,
        in_scikit_learn=False,
        description="diagonal matrices of one shape, each times a volume of its own",
    ),
    CovarianceFamily(
        "EVI",
        "EVI",
        EqualVolumeDiagonal(),
        Equivariance.SCALES,
        shared=False,
        in_scikit_learn=False,
        description="diagonal matrices of one volume, each of a shape of its own",
        part="diag",
    ),
    CovarianceFamily(
        "VEE",
        "VEE",
        Proportional(),
        Equivariance.AFFINE,
        shared=False,
        in_scikit_learn=False,
        description="one matrix, times a volume for each component",
    ),
    CovarianceFamily(
        "EVV",
        "EVV",
        EqualVolumeFull(),
        Equivariance.AFFINE,
        shared=False,
        in_scikit_learn=False,
        description="matrices of one volume, each of a shape of its own",
        part="full",
    ),
    CovarianceFamily(
        "EEV",
        "EEV",
        EqualEigenvalues(),
        Equivariance.ROTATIONS,
        shared=False,
        in_scikit_learn=False,
        description="matrices with the same eigenvalues",
        part="full",
    ),
    CovarianceFamily(
        "VEV",
        "VEV",
        OwnVolumes(),
        Equivariance.ROTATIONS,
        shared=False,
        in_scikit_learn=False,
        description="matrices whose eigenvalues have the same ratios",
        part="full",
    ),
    CovarianceFamily(
        "EVE",
        "EVE",
        CommonAxesEqualVolumes(),
        Equivariance.ROTATIONS,
        shared=False,
        in_scikit_learn=False,
        description="matrices with the same eigenvectors and the same determinant",
        part="full",
    ),
    CovarianceFamily(
        "VVE",
        "VVE",
        CommonAxes(),
        Equivariance.ROTATIONS,
        shared=False,
        in_scikit_learn=False,
        description="matrices with the same eigenvectors",
        part="full",
    ),
)
_UNIVARIATE = {"V": "full", "E": "tied"}  # mclust's codes for one feature
FAMILIES = {key: family for family in _FAMILIES for key in (family.name, family.code)}
NAMES = tuple(family.name for family in _FAMILIES)
FAMILIES |= {code: FAMILIES[name] for code, name in _UNIVARIATE.items()}
_FACTORS = re.compile(r"factor([1-9]\d{0,3})?")


def covariance_family(
    covariance_type: str, n_features: int | None = None, n_factors: int | None = None
) -> CovarianceFamily:
    """Look a family up by scikit-learn's name or mclust's code; ``"factor3"`` is ``"factor"`` with three factors.

    mclust's E and V are for one feature: they are refused where ``n_features`` is known to be another. So are more
    factors than that many features determine.
    """
    if isinstance(covariance_type, str) and (found := _FACTORS.fullmatch(covariance_type)):
        return _of_factors(covariance_type, found[1] or n_factors, n_features)
    if n_factors is not None:
        raise InputError(
            expected="covariance_type='factor' with n_factors",
            got=f"{told(covariance_type)} with n_factors={n_factors}",
            hint="Leave n_factors out.",
        )
    try:
        family = FAMILIES[covariance_type]
    except (KeyError, TypeError):
        known = ", ".join(f"'{f.name}' ({f.code})" if f.name != f.code else f"'{f.code}'" for f in _FAMILIES)
        raise InputError(
            expected=f"covariance_type one of {known}, or 'E' or 'V' for one feature; or 'factor1', 'factor2', ... for "
            "so many factors",
            got=told(covariance_type),
        ) from None
    if covariance_type in _UNIVARIATE and n_features not in (None, 1):
        raise InputError(
            expected="one feature with covariance_type 'E' or 'V'",
            got=f"{covariance_type!r} with {n_features} features",
            hint=f"For several features {family.code} ('{family.name}') is the most general of its like.",
        )
    return family


covariance_family.__module__ = "bayesgmm.mixture"  # pickles name it


@cache
def _factor_family(n_factors: int) -> CovarianceFamily:
    """The family of mixtures of factor analysers, made once for each number of factors."""
    return CovarianceFamily(
        f"factor{n_factors}",
        f"factor{n_factors}",
        FactorAnalytic(n_factors),
        Equivariance.SCALES,
        shared=False,
        in_scikit_learn=False,
        description=f"loadings of rank {n_factors} times their transpose, and noise variances on the diagonal",
        part="full",
    )


def _of_factors(covariance_type: str, n_factors: str | int | None, n_features: int | None) -> CovarianceFamily:
    if n_factors is None:
        raise InputError(
            expected="a number of factors with covariance_type 'factor'",
            got="none",
            hint="GaussianMixture(covariance_type='factor', n_factors=3), or 'factor3' for short, has three; "
            "select_components(X, ..., covariance_types=['factor1', 'factor2', 'factor3']) chooses by BIC.",
        )
    q = int(n_factors) if isinstance(n_factors, str) else n_factors
    check_whole(n_factors=q)
    family = _factor_family(q)
    if n_features is None:
        return family
    most = max((f for f in range(1, n_features) if (n_features - f) ** 2 >= n_features + f), default=0)
    if q > most:
        raise InputError(
            expected=f"at most {most} factors of {n_features} features" if most else "at least three features",
            got=f"{family.name!r} with {n_features} features",
            hint="More have as many parameters as 'full' covariances: take 'full', or fewer factors.",
        )
    return family
