"""
A first comparison
==================

Does the theory predict what dropout does to a small network? This takes a dozen lines: data, a network, and one call
that trains an ensemble and holds it against the theories.
"""

import numpy as np

import simdrop

x = np.linspace(-1, 1, 8)
problem = simdrop.Problem(x, np.sin(3 * x), width=20, keep_prob=0.8)
problem

# %%
# ``keep_prob`` is the probability that a neuron is kept; ``torch.nn.Dropout`` takes 1 minus it. The 400 networks
# below start from one point and differ in their masks alone, so that all spread between them is dropout's.

found = simdrop.compare(problem, lr=0.05, steps=400, members=400)
print(found.table())

# %%
# The table has the distance of each theory from the mean of the ensemble, with its standard error, and the share of
# plain gradient flow's distance that a theory removes. *Plain gradient flow* ignores dropout. The *averaged flow*
# adds the mean effect of dropout, the regularizer :math:`R_1`; the *modified flow* adds :math:`R_2`, which knows that
# steps are finite. Below the table stands in words what the numbers support.
#
# The figure shows the same over time. A theory inside the pale band cannot be told from the ensemble by sampling: more
# members make the band narrower.

figure = found.figure()

# %%
# All numbers are there, as arrays with names:

found.distances

# %%
# ``found.save("first")`` writes them to a folder, with the figure and a report that a browser opens.
