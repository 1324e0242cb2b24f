"""The EM algorithm: M-step, SQUAREM acceleration, initialization, multiple starts, degeneracy checks."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.em.degeneracy import COLLAPSED as COLLAPSED
    from bayesgmm.em.degeneracy import Degeneracy as Degeneracy
    from bayesgmm.em.em import EMResult as EMResult
    from bayesgmm.em.em import EMSettings as EMSettings
    from bayesgmm.em.em import EMState as EMState
    from bayesgmm.em.em import log_penalty as log_penalty
    from bayesgmm.em.em import next_mixture as next_mixture
    from bayesgmm.em.em import run_em as run_em
    from bayesgmm.em.em import statistics_of as statistics_of
    from bayesgmm.em.initialization import Initialisation as Initialisation
    from bayesgmm.em.initialization import groups_of_tree as groups_of_tree
    from bayesgmm.em.initialization import starting_mixture as starting_mixture
    from bayesgmm.em.local_search import EFFORTS as EFFORTS
    from bayesgmm.em.local_search import Effort as Effort
    from bayesgmm.em.moments import moments_of as moments_of
    from bayesgmm.em.moments import principal_directions as principal_directions
    from bayesgmm.em.moments import variance_floors as variance_floors
    from bayesgmm.em.multistart import StartCallback as StartCallback
    from bayesgmm.em.multistart import best_of_starts as best_of_starts
    from bayesgmm.em.multistart import conclude as conclude
    from bayesgmm.em.squarem import aitken_remaining as aitken_remaining
    from bayesgmm.em.start_plan import KINDS as KINDS
    from bayesgmm.em.start_plan import MIXED as MIXED
    from bayesgmm.em.start_plan import Plan as Plan
    from bayesgmm.em.start_plan import Starts as Starts

__getattr__, __dir__, __all__ = lazy(__name__)
