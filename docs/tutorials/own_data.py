"""
Data of your own
================

A table is the usual case: here a CSV file with measurements, a cell that is missing and a column to predict.
"""

import tempfile
from pathlib import Path

import numpy as np

import simdrop

random = np.random.default_rng(0)
size, age = random.uniform(40, 160, 30), random.uniform(0, 60, 30)
price = 2.5 * size - 1.2 * age + random.normal(0, 15, 30)
rows = [f"{s:.1f},{a:.0f},{p:.0f}" for s, a, p in zip(size, age, price, strict=True)]
rows[7] = rows[7].split(",")[0] + ",,200"  # the age is not known
table = Path(tempfile.mkdtemp()) / "houses.csv"
table.write_text("size,age,price\n" + "\n".join(rows) + "\n")

# %%
# Nothing is guessed. A cell that is empty is refused with its place, until you say what is meant:

try:
    simdrop.data.load(table, target="price")
except simdrop.errors.InvalidInput as error:
    print(error)

# %%
# Networks train well where inputs and targets are of order one, hence ``standardize``:

data = simdrop.data.load(table, target="price", missing="drop", standardize=True, standardize_targets=True)
print(data.inputs, data.targets, data.x.shape)
for note in data.notes:
    print("-", note)

# %%
# From here on everything is as with any arrays. ``output_scale="1/sqrt(m)"`` keeps outputs of order one at any width.

problem = simdrop.Problem(data.x, data.y, width=30, keep_prob=0.8, mask="sample", output_scale="1/sqrt(m)")
found = simdrop.compare(problem, lr=0.1, steps=300, members=200)
figure = found.figure()

# %%
# A part of the data can be kept back as a test set, whose risk is then recorded along the run:

train = simdrop.Problem(data.x[:20], data.y[:20], width=30, keep_prob=0.8, mask="sample", output_scale="1/sqrt(m)")
runs = simdrop.simulate(train, train.init(seed=0), lr=0.1, steps=300, members=100, test=(data.x[20:], data.y[20:]))
print(f"risk {runs.risk_mean[-1].item():.3f}, on the test set {runs.test_risk_mean[-1].item():.3f}")

# %%
# The same from the command line:
#
# .. code-block:: bash
#
#    simdrop compare --data houses.csv --target price --missing drop --standardize --standardize-targets
