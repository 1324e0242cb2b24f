"""The distributions of a component given whitened residuals: Gaussian and Student-t."""
