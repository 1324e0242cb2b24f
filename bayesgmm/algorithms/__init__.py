"""Floor 2: starts, EM, coordinates, the log posterior, alignment. Adds joblib and k-means++."""
