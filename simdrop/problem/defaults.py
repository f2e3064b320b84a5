"""What a problem is where nothing is said: the same in Python, on the command line and in a sweep."""

from __future__ import annotations

#: the papers' p
KEEP_PROB = 0.9
#: factor of the output
OUTPUT_SCALE = 1.0
