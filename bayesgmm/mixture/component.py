"""What a component's distribution is, given whitened residuals: the Gaussian.

A component turns the squared length of a whitened residual into a log density, and responsibilities into the weights
with which rows enter the first and second moments. Both are one for all covariance families.
"""

from abc import ABC

from bayesgmm._compiled import Behaviour, BehaviourType, allocation_free


class Component(Behaviour, ABC):
    """The distribution of a component.

    Static methods are compiled, for the kernel: ``log_density(log_scale, square)`` of a vector of rows, where
    ``log_scale`` holds the logarithms of weight and normalizer; and ``moment_weights(layout, padded, work, resp)``, the
    place of the weights of moments, given that of responsibilities.
    """


class Gaussian(Component):
    r"""The normal distribution: log density :math:`-|z|^2 / 2`, moments weighted by responsibilities."""

    @staticmethod
    @allocation_free
    def log_density(log_scale, square):  # type: ignore[no-untyped-def]
        """log w + log density."""
        return log_scale - square * 0.5

    @staticmethod
    @allocation_free
    def moment_weights(layout, padded, work, resp):  # type: ignore[no-untyped-def]
        """Responsibilities as they are."""
        return resp


COMPONENT = BehaviourType(Component)  # in declared signatures: any of them
GAUSSIAN = Gaussian()
