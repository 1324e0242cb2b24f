"""Floor 3: the PyMC model, NUTS, and what is derived from the draws."""
