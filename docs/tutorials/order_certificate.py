"""
A certificate of order
======================

A theory of order q misses the ensemble by an error that falls as ``lr**q``. Whether it does can be measured: train
at several learning rates, up to the same time, and fit the slope. This is what ``simdrop order`` does.
"""

import numpy as np

import simdrop

x = np.linspace(-1, 1, 4)
problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)

# %%
# Few neurons and many members: errors at small learning rates lie far below what a small ensemble resolves. Each
# network is trained together with one whose noise is known, which takes most of the sampling noise away.

found = simdrop.study.order(
    problem,
    problem.init(seed=3),
    lrs=[0.1, 0.05, 0.025, 0.0125],
    time=1.0,
    members=20_000,
    kinds=["gradient", "averaged", "mean-covariance"],
    backend="native",
)
print(found.table())

# %%
# A slope alone cannot tell an error that vanishes from one that stops at a small constant. The floor is what is left
# as lr goes to 0, with its standard error, and the last column says by a fixed rule whether the claimed order is
# consistent with all of it. *Not resolved* is an answer too: more members, or larger learning rates, would be needed.

figure = found.figure()

# %%
# A certificate names what it holds for: this problem, this start, this time. Keep it with ``found.save("order")``.

for kind, rows in found.summary["kinds"].items():
    row = rows["parameters"]
    slope = "not resolved" if row["slope"] is None else f"{row['slope']:.2f}"
    print(f"{kind}: slope {slope}, its claim: {row['consistent']}")
