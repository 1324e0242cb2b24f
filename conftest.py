"""For tests and doctests alike: figures are drawn without a screen."""

import os

os.environ.setdefault("MPLBACKEND", "agg")
