"""Floor 0: array aliases, frozen records, errors, border validators. Imports NumPy only."""
