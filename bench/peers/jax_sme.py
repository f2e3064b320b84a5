"""The stochastic equation of order 1 by Euler steps as one writes it in JAX: a scan over steps, vmap over paths, pmap.

The noise is that of simdrop, exact by the expansion in products of dropout factors (contract/equation.py): step masks,
one output, tanh, in double precision. `make(diffrax=True)` hands the same drift and noise to diffrax's solver.
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
    diffrax: bool = False,
) -> Callable[[int], Any]:
    """A function of a seed that follows so many paths from theta0 (P,), x (n, D), y (n,): parameters (paths, P)."""
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
    import jax

    jax.config.update("jax_enable_x64", True)
    m, inputs = len(theta0) // (1 + x.shape[1]), x.shape[1]
    start = jax.numpy.asarray(theta0[:m]), jax.numpy.asarray(theta0[m:].reshape(m, inputs))
    drift, noise = _equation(x, y, m, keep_prob)
    count = m * (m + 1) // 2
    follow = (_by_diffrax if diffrax else _by_scan)(drift, noise, start, count, lr=lr, steps=steps)
    both = jax.pmap(jax.vmap(lambda key: jax.numpy.concatenate([part.ravel() for part in follow(key)])))

    def run(seed: int) -> Any:
        keys = jax.random.split(jax.random.key(seed), paths).reshape(devices, -1)
        return np.asarray(both(keys)).reshape(paths, -1)

    return run


def _equation(x: np.ndarray, y: np.ndarray, m: int, keep_prob: float) -> tuple[Any, Any]:
    """The functions drift(state) and noise(state, normal numbers) of theta as (a, w)."""
    import jax.numpy as jnp

    n, v = len(x), (1 - keep_prob) / keep_prob
    rows, columns = np.triu_indices(m, 1)
    data, targets = jnp.asarray(x), jnp.asarray(y)

    def forward(state: Any) -> Any:
        a, w = state
        h = jnp.tanh(data @ w.T)  # (n, m)
        return a, h, h * a, h @ a - targets

    def pull(a: Any, h: Any, total: Any) -> Any:
        return jnp.einsum("im,im->m", total, h), jnp.einsum("im,m,im,id->md", total, a, 1 - h * h, data)

    def drift(state: Any) -> Any:
        a, h, u, e = forward(state)
        return pull(a, h, -(e[:, None] + v * u) / n)

    def noise(state: Any, drawn: Any) -> Any:
        a, h, u, e = forward(state)
        xi = drawn[:m]
        pairs = jnp.zeros((m, m)).at[rows, columns].set(drawn[m:])
        t = (
            jnp.sqrt(v) * (u @ xi)[:, None]
            + v * (u @ (pairs + pairs.T))
            + jnp.sqrt(v) * xi * (e[:, None] + (v - 1) * u)
        )
        return pull(a, h, t / n)

    return drift, noise


def _by_scan(drift: Any, noise: Any, start: Any, count: int, *, lr: float, steps: int) -> Any:
    """Euler steps of lr, whose noise is √lr times √lr times that of unit numbers."""
    import jax

    def step(state: Any, key: Any) -> Any:
        drawn = jax.random.normal(key, (count,))
        moved = jax.tree.map(lambda s, d, z: s + lr * d + lr * z, state, drift(state), noise(state, drawn))
        return moved, None

    return lambda key: jax.lax.scan(step, start, jax.random.split(key, steps))[0]


def _by_diffrax(drift: Any, noise: Any, start: Any, count: int, *, lr: float, steps: int) -> Any:
    """The same by diffrax: its Euler solver at a fixed step, and its fastest Brownian motion."""
    import diffrax
    import jax

    shape = jax.ShapeDtypeStruct((count,), jax.numpy.float64)

    class Spread(diffrax.ControlTerm):
        """Whose field is the state, as the noise of a state is no matrix."""

        def prod(self, vf: Any, control: Any) -> Any:
            return jax.tree.map(lambda part: np.sqrt(lr) * part, noise(vf, control))

    def follow(key: Any) -> Any:
        motion = diffrax.UnsafeBrownianPath(shape=shape, key=key)
        along = diffrax.ODETerm(lambda _, state, __: drift(state))
        terms = diffrax.MultiTerm(along, Spread(lambda _, state, __: state, motion))
        found = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, lr * steps, lr, start, saveat=diffrax.SaveAt(t1=True),
            max_steps=steps + 1, adjoint=diffrax.DirectAdjoint(),
        )  # fmt: skip
        return jax.tree.map(lambda part: part[0], found.ys)

    return follow
