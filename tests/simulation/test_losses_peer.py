"""Losses with classes against PyTorch's own, under the same masks (tier "peer")."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop

STEPS = 200
X = np.random.default_rng(8).standard_normal((9, 3))
TARGETS: dict[str, Any] = {
    "logistic": [0, 1, 1, 0, 1, 0, 0, 1, 1],
    "softmax": [0, 2, 1, 1, 0, 2, 2, 0, 1],
    "squared-softmax": [0, 2, 1, 1, 0, 2, 2, 0, 1],
}


@pytest.mark.peer
@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("loss", TARGETS)
def test_two_hundred_steps_are_those_of_torch(loss: str, backend: str) -> None:
    """BCEWithLogitsLoss, CrossEntropyLoss, and MSELoss of softmax outputs times c/2, by torch.optim.SGD."""
    torch = pytest.importorskip("torch")
    problem = simdrop.Problem(X, TARGETS[loss], width=8, keep_prob=0.7, loss=loss, mask="sample", output_scale=0.5)
    theta0 = problem.init(seed=0)
    runs = simdrop.simulate(
        problem, theta0, lr=0.2, steps=STEPS, members=1, seed=5, record=2, keep_theta=True, backend=backend
    )
    a, w = (torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in problem.split(theta0))
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)
    classes, optimizer = y.argmax(dim=1), torch.optim.SGD([a, w], lr=0.2)
    of_torch = {
        "logistic": lambda f: torch.nn.BCEWithLogitsLoss()(f, y),
        "softmax": lambda f: torch.nn.CrossEntropyLoss()(f, classes),
        "squared-softmax": lambda f: torch.nn.MSELoss()(torch.softmax(f, dim=1), y) * y.shape[1] / 2,
    }[loss]
    for step in range(STEPS):
        kept = simdrop.masks(seed=5, member=0, step=step, width=8, keep_prob=0.7, samples=len(X))
        hidden = torch.tanh(x @ w.T) * torch.tensor(kept / 0.7)
        optimizer.zero_grad()
        of_torch(0.5 * hidden @ a.T).backward()
        optimizer.step()
    found = problem.join(a.detach().numpy(), w.detach().numpy())
    np.testing.assert_allclose(runs.theta.values[-1, 0], found, rtol=1e-12, atol=1e-12)
    whole = of_torch(0.5 * torch.tanh(x @ w.T) @ a.T).item()
    np.testing.assert_allclose(runs.risk.values[-1, 0], whole, rtol=1e-11)
