"""Covariance families: parametrisations of covariance matrices, one a file, and the table of families."""
