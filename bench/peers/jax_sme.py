"""The stochastic equation of order 1 by Euler steps as one writes it in JAX: a scan over steps, vmap over paths, pmap.

The noise is that of simdrop, exact by the expansion in products of dropout factors (contract/equation.py): step masks,
one output, tanh, in double precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np


def make(
    x: np.ndarray,
    y: np.ndarray,
    theta0: np.ndarray,
    *,
    keep_prob: float,
    lr: float,
    steps: int,
    paths: int,
    devices: int,
) -> Callable[[int], Any]:
    """A function of a seed that follows so many paths from theta0 (P,), x (n, D), y (n,): parameters (paths, P)."""
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    n, inputs = x.shape
    m = len(theta0) // (1 + inputs)
    v = (1 - keep_prob) / keep_prob
    rows, columns = np.triu_indices(m, 1)
    data, targets = jnp.asarray(x), jnp.asarray(y)

    def step(carry: Any, key: Any) -> Any:
        a, w = carry
        h = jnp.tanh(data @ w.T)  # (n, m)
        u, e = h * a, h @ a - targets
        slope = 1 - h * h
        r = e[:, None] + v * u
        drawn = jax.random.normal(key, (m * (m + 1) // 2,))
        xi = drawn[:m]
        pairs = jnp.zeros((m, m)).at[rows, columns].set(drawn[m:])
        t = (
            jnp.sqrt(v) * (u @ xi)[:, None]
            + v * (u @ (pairs + pairs.T))
            + jnp.sqrt(v) * xi * (e[:, None] + (v - 1) * u)
        )
        total = (-lr * r + lr * t) / n  # √ε √h = lr
        by_a = jnp.einsum("im,im->m", total, h)
        by_w = jnp.einsum("im,m,im,id->md", total, a, slope, data)
        return (a + by_a, w + by_w), None

    def follow(key: Any) -> Any:
        start = jnp.asarray(theta0[:m]), jnp.asarray(theta0[m:].reshape(m, inputs))
        (a, w), _ = jax.lax.scan(step, start, jax.random.split(key, steps))
        return jnp.concatenate([a, w.ravel()])

    both = jax.pmap(jax.vmap(follow))

    def run(seed: int) -> Any:
        keys = jax.random.split(jax.random.key(seed), paths).reshape(devices, -1)
        return np.asarray(both(keys)).reshape(paths, -1)

    return run
