"""PyTorch: the loop over `nn.Module` that people write, and all members batched by hand, eager or compiled."""

from __future__ import annotations

import numpy as np
import torch
from common import Case, Trainer, flat


def prepare(case: Case, members: int, threads: int, *, structure: str) -> Trainer:
    """See `common.Trainer`. structure: "loop", "batched" or "compiled" (batched, under `torch.compile`)."""
    torch.set_num_threads(threads)
    return _loop(case, members) if structure == "loop" else _batched(case, members, structure == "compiled")


class Network(torch.nn.Module):
    """Two layers with dropout between them; the bias is the weight of the data's column of ones."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(case.inputs + 1, case.width, bias=False)
        self.output = torch.nn.Linear(case.width, case.outputs, bias=False)
        self.step_mask = case.mask == "step"
        self.dropout = torch.nn.Dropout(1 - case.keep_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (n, c) under a fresh mask."""
        h = torch.tanh(self.hidden(x))
        # One mask for all samples: dropout of a row of ones.
        h = h * self.dropout(torch.ones_like(h[:1])) if self.step_mask else self.dropout(h)
        return self.output(h)


def _loop(case: Case, members: int) -> Trainer:
    x, y = (torch.from_numpy(v) for v in case.data())
    a, w = (torch.from_numpy(v) for v in case.start())

    def run(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        found = []
        for _ in range(members):
            network = Network(case).to(x.dtype)
            with torch.no_grad():
                network.hidden.weight.copy_(w)
                network.output.weight.copy_(a)
            optimizer = torch.optim.SGD(network.parameters(), lr=case.lr)
            for _ in range(case.steps):
                optimizer.zero_grad()
                loss = torch.square(network(x) - y).sum() / (2 * case.samples)
                loss.backward()
                optimizer.step()
            weights = (network.output.weight, network.hidden.weight)
            found.append(flat(*(v.detach().numpy()[None] for v in weights))[0])
        return np.array(found)

    return Trainer(run=run, theta=lambda theta: theta)


def _batched(case: Case, members: int, compiled: bool) -> Trainer:
    x, y = (torch.from_numpy(v) for v in case.data())
    a0, w0 = (torch.from_numpy(v) for v in case.start())
    rows = case.samples if case.mask == "sample" else 1

    def step(a: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s = (noise < case.keep_prob) * (1 / case.keep_prob)
        h = torch.tanh(x @ w.transpose(1, 2))
        kept = h * s
        e = (kept @ a.transpose(1, 2) - y) / case.samples
        t = (e @ a) * s * (1 - h * h)
        return a - case.lr * (e.transpose(1, 2) @ kept), w - case.lr * (t.transpose(1, 2) @ x)

    advance = torch.compile(step) if compiled else step

    @torch.no_grad()
    def run(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        a, w = a0.repeat(members, 1, 1), w0.repeat(members, 1, 1)
        for _ in range(case.steps):
            a, w = advance(a, w, torch.rand((members, rows, case.width), dtype=x.dtype))
        return a, w

    return Trainer(run=run, theta=lambda state: flat(*(v.numpy() for v in state)))
