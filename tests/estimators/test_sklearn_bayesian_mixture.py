"""scikit-learn's test_bayesian_mixture.py, run on the classes of this package."""

from sklearn_substitution import few_draws, first_by_default, global_dtype, global_random_seed, quietly, substituted

__all__ = ["few_draws", "global_dtype", "global_random_seed"]
pytestmark = quietly
globals().update(substituted("test_bayesian_mixture"))
first_by_default(globals()["test_bayesian_mixture_fit_predict"])  # tol and max_iter vary, of EM before the chains
