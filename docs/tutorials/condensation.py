"""
Condensation
============

Under dropout the neurons of a wide network come to share a few orientations (Zhang & Xu, arXiv:2207.05952, figure 4).
Here at a third of the published width and fewer steps; ``simdrop reproduce condensation`` runs what was published.
"""

import matplotlib.pyplot as plt
import numpy as np

import simdrop
from simdrop.study import condensation

x = np.linspace(-12, 12, 15)
problem = simdrop.Problem(x, np.tanh(x - 6) + np.tanh(x + 6), width=300, keep_prob=0.9, mask="sample")
theta0 = problem.init(seed=0, gamma=0.2)

# %%
# Two networks from one start, trained in one call: members may differ in ``keep_prob``, and 1 is training without
# dropout.

runs = simdrop.simulate(
    problem,
    theta0,
    lr=0.001,
    steps=60_000,
    members=2,
    keep_prob=[0.9, 1.0],
    optimizer="adam",
    keep_theta=True,
    record=60,
)
print(runs.risk[-1].values)

# %%
# A neuron with one input and a bias has an angle, its orientation. Large neurons count more, so each angle carries its
# amplitude. Without dropout angles stay where the start put them; with dropout they gather.

figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for panel, member, title in zip(panels, (0, 1), ("with dropout, p = 0.9", "without dropout"), strict=True):
    theta = runs.theta.isel(time=-1, member=member)
    panel.scatter(condensation.orientations(problem, theta), condensation.amplitudes(problem, theta), s=12)
    panel.set(title=title, xlabel="orientation", xlim=(-np.pi, np.pi))
panels[0].set_ylabel("amplitude / largest")

# %%
# A number for it: how few orientations hold 95 % of the amplitude.

for member, title in enumerate(("with dropout", "without")):
    groups = condensation.clusters(problem, runs.theta.isel(time=-1, member=member))
    print(f"{title}: {groups.holding(0.95)} clusters hold 95 %")

# %%
# When does it happen? A histogram of orientations at every record time is a picture of the whole run.

angles = condensation.orientations(problem, runs.theta.isel(member=0))
sizes = condensation.amplitudes(problem, runs.theta.isel(member=0))
edges = np.linspace(-np.pi, np.pi, 61)
counts = [np.histogram(row, bins=edges, weights=size)[0] for row, size in zip(angles, sizes, strict=True)]
figure, panel = plt.subplots(figsize=(6, 3.4), layout="constrained")
panel.pcolormesh(runs.step, (edges[1:] + edges[:-1]) / 2, np.transpose(counts), cmap="magma")
panel.set(xlabel="step", ylabel="orientation", title="Amplitude by orientation, with dropout")
