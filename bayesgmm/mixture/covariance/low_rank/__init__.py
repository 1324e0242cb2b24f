"""Covariances of low rank plus a diagonal: factor analysis of one matrix, and the family of mixtures of it."""
