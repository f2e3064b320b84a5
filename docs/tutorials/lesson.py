"""
A lesson: what does dropout do?
===============================

For a course: download the notebook at the end of this page. It starts from a penalty that students can derive in five
lines, and lets them see it act. Exercises are at the end.
"""

import matplotlib.pyplot as plt
import numpy as np

import simdrop

# %%
# 1. One mask
# -----------
#
# A network of two layers is a sum over neurons. Dropout multiplies each by 0 or by 1/p.

x = np.linspace(-1, 1, 8)
problem = simdrop.Problem(x, np.sin(3 * x), width=20, keep_prob=0.5)
theta = problem.init(seed=0)
mask = simdrop.masks(seed=0, member=0, step=0, width=20, keep_prob=0.5)
print(mask.astype(int))

# %%
# 2. Many masks
# -------------
#
# The mean of the output over masks is the output without dropout. The mean of its *square* is not: the variance is
# left, and that is the penalty :math:`R_1`. Draw masks until you believe it.

a, w = problem.split(theta)
hidden = np.tanh(problem.inputs @ w.T)  # (sample, neuron)
contribution = hidden * a[0]
random = np.random.default_rng(0)
factors = (random.random((20_000, 20)) < 0.5) / 0.5
outputs = factors @ contribution.T  # (mask, sample)
drawn = np.mean((outputs - problem.y[:, 0]) ** 2) / 2
exact = simdrop.theory.risk(problem, theta) + simdrop.theory.r1(problem, theta)
print(f"mean loss over masks {drawn:.4f}, R_S + R_1 {exact:.4f}")

# %%
# 3. Many networks
# ----------------
#
# Now train: 300 networks, one start, masks of their own. Each is noisy; their mean follows the gradient of R_S + R_1,
# not that of R_S.

runs = simdrop.simulate(problem, theta, lr=0.05, steps=300, members=300)
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
axes.plot(runs.time, runs.risk[:, :20], color="0.8", lw=0.7)
axes.plot(runs.time, runs.risk_mean, color="k", label="mean of 300 networks")
for kind in ("gradient", "averaged"):
    flow = simdrop.flow(problem, theta, lr=0.05, times=runs.time, kind=kind)
    axes.plot(flow.time, [simdrop.theory.risk(problem, at) for at in flow.theta.values], label=f"{kind} flow")
axes.set(xlabel="t = lr · step", ylabel="$R_S$", yscale="log")
axes.legend()

# %%
# 4. Is it the noise or the penalty?
# ----------------------------------
#
# Both come from the masks, and they can be taken apart: ``part="drift"`` keeps the penalty and leaves out the noise.

quiet = simdrop.simulate(
    problem, theta, lr=0.05, steps=300, members=1, noise=simdrop.Noise(part="drift"), backend="numpy"
)
print(f"networks {runs.risk_mean[-1].item():.4f}, penalty alone {quiet.risk_mean[-1].item():.4f}")

# %%
# Exercises
# ---------
#
# 1. Derive :math:`R_1` for a Gaussian factor 1 + sqrt((1-p)/p) z in the place of the mask. Check it with
#    ``Noise(law="gaussian")``.
# 2. Halve the learning rate and double the steps. Which of the curves of part 3 move, and why?
# 3. Set ``mask="sample"``. The penalty is the same. What changes?
# 4. Plain gradient descent with ``weight_decay``: can it be told from dropout by the orientations of its neurons?
