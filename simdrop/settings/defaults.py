"""What an argument is where it is left out: the same in Python, on the command line and in a sweep."""

from __future__ import annotations

from typing import Final

#: record times
RECORD = 50
#: how they are spaced
SPACING = "even"
#: of a simulation
DTYPE = "float64"
#: kernels to run on
BACKEND: Final = "auto"
#: bytes of parameters and optimizer state that the members trained at one time may take
MEMORY = 512 << 20
#: a member whose R_S is more than this many times that at its start has blown up: its outputs are 10^4 times as large.
#: Losses that rise at large learning rates and come down again rise less, by up to about the width of the network
#: (Lewkowycz et al., arXiv:2003.02218), and what grows at every step passes any bound soon
RISK_LIMIT = 1e8
#: levels of the quantiles of the risk over members
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
