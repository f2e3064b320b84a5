"""
Weights from PyTorch, and back
==============================

A network that was trained elsewhere can be the start of an ensemble: what does dropout do to it from here on?
"""

import numpy as np

import simdrop

x = np.linspace(-1, 1, 12)
y = np.sin(4 * x)

# %%
# Train in PyTorch, as anyone would. simdrop's networks have no bias at the outputs. Where PyTorch is not installed,
# as on the machine that builds this site, weights of the same names and shapes stand in for it.

try:
    import torch
except ImportError:
    random = np.random.default_rng(0)
    state = {
        "0.weight": random.normal(0, 2, (30, 1)),
        "0.bias": random.normal(0, 1, 30),
        "3.weight": random.normal(0, 0.2, (1, 30)),
    }
else:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(1, 30), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(30, 1, bias=False)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = (torch.tensor(array[:, None], dtype=torch.float32) for array in (x, y))
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    state = model.state_dict()

# %%
# ``Dropout(0.2)`` is ``keep_prob=0.8``, and layers of PyTorch draw one mask for each sample. A module can be handed
# in as well as its ``state_dict``; arrays that do not fit are refused by name and shape.

problem = simdrop.Problem(x, y, width=30, keep_prob=0.8, mask="sample")
theta0 = problem.import_weights(state)
print(theta0.shape, problem.n_params)

# %%
# 500 copies go on from there, each with masks of its own, and the theories start from the same point.

found = simdrop.compare(problem, theta0, lr=0.02, steps=300, members=500)
figure = found.figure()

# %%
# Outputs under dropout have a mean and a spread, which are known in closed form: no sampling is needed.

outputs = problem.predict(theta0, x, masks=100)
outputs

# %%
# And back: named arrays as a ``state_dict`` has them, or with ``to="torch"`` a module.

mean = found.runs.theta_mean[-1]
for name, array in problem.export_weights(mean).items():
    print(name, np.shape(array))
