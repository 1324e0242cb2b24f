"""For tests and doctests alike: figures are drawn without a screen."""

import os
import signal

os.environ.setdefault("MPLBACKEND", "agg")

# A shell that runs the tests in the background has them, and the processes they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
