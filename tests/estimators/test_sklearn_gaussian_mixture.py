"""scikit-learn's test_gaussian_mixture.py, run on the classes of this package."""

from sklearn_substitution import few_draws, global_dtype, global_random_seed, quietly, substituted

__all__ = ["few_draws", "global_dtype", "global_random_seed"]
pytestmark = quietly
globals().update(substituted("test_gaussian_mixture"))
