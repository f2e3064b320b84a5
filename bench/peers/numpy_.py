"""NumPy, batched by hand over blocks of members: what a careful user writes without a compiler."""

from __future__ import annotations

import numpy as np
from common import Case, Trainer, flat


def prepare(case: Case, members: int, threads: int, *, block: int) -> Trainer:
    """See `common.Trainer`. BLAS has its own threads; everything else runs on one."""
    x, y = case.data()
    a0, w0 = case.start()
    n, real = case.samples, np.dtype(case.dtype).type
    lr, keep, scale = real(case.lr), real(case.keep_prob), real(1 / case.keep_prob)
    mask = (block, n if case.mask == "sample" else 1, case.width)

    def train(rng: np.random.Generator) -> np.ndarray:
        a, w = np.tile(a0, (block, 1, 1)), np.tile(w0, (block, 1, 1))
        for _ in range(case.steps):
            s = (rng.random(mask, dtype=real) < keep) * scale
            h = np.tanh(x @ w.swapaxes(1, 2))  # (B, n, m)
            kept = h * s
            e = (kept @ a.swapaxes(1, 2) - y) / real(n)
            t = (e @ a) * s * (1 - h * h)
            a -= lr * (e.swapaxes(1, 2) @ kept)
            w -= lr * (t.swapaxes(1, 2) @ x)
        return flat(a, w)

    def run(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return np.concatenate([train(rng) for _ in range(members // block)])

    return Trainer(run=run, theta=lambda theta: theta)
