"""JAX: a jitted `lax.scan` over steps; members by `vmap`, by `lax.map`, or in blocks written by hand.

structure  "vmap": all members of a device at once; "last": the same with members in the last axis, so that they
           fill vectors; "map": one member after the other; "block": `lax.map` over blocks of `block` members
           whose step is written for the block (manual gradient, `form`)
gradient   "autodiff" or "manual"
prng       "threefry2x32", "rbg" or "unsafe_rbg": JAX's own. "unrolled": the Threefry-2x32 of JAX bit for bit, but
           with its rounds unrolled (JAX rolls them into a loop on the CPU) and with two masks of 16 bits per
           word, which keep with probability round(65536 p) / 65536
hoist      masks are drawn for this many steps at once, outside the inner scan; must divide the steps
devices    host devices under `pmap`; XLA_FLAGS must have made them before JAX is imported
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import Case, Trainer, flat
from jax import lax

einsum = jnp.einsum

#: masks to a byte of the packed ones: two words of two halves
PACK = 4


def prepare(
    case: Case, members: int, threads: int, *, structure: str, gradient: str = "manual", prng: str = "threefry2x32",
    block: int = 1, hoist: int | None = None, form: str = "unrolled", devices: int = 1,
) -> Trainer:  # fmt: skip
    """See `common.Trainer`."""
    hoist = _check_hoist(case, prng, hoist)
    jax.config.update("jax_enable_x64", case.dtype == "float64")
    x, y = case.data()
    start = case.start()
    local = members // devices
    if structure == "block":
        lead: tuple[int, ...] = (local // block, block)
        step = _block_step(case, x, y, form)
        train = partial(_train, case, step, prng, hoist, (block,))
        over = lax.map
    elif structure == "last":
        lead = ()
        step = jax.vmap(_network_step(case, x, y, gradient), in_axes=-1, out_axes=-1)
        train = partial(_train, case, step, prng, hoist, (), last=(local,))
        over = _once
    else:
        lead = (local,)
        step = _network_step(case, x, y, gradient)
        train = partial(_train, case, step, prng, hoist, ())
        over = lax.map if structure == "map" else lambda f, xs: jax.vmap(f)(xs)
    last = (local,) if structure == "last" else ()

    def device(seed, number):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32" if prng == "unrolled" else prng), number)
        keys = jax.random.split(key, lead[0]) if lead else key
        start_of = [v.reshape(v.shape + (1,) * len(last)) for v in _layout(case, start)]
        state = tuple(jnp.broadcast_to(v, lead + v.shape[: v.ndim - len(last)] + last) for v in start_of)
        return over(lambda q: train(*q), (state, keys))

    if devices > 1:
        function: Any = jax.pmap(device, in_axes=(None, 0), devices=jax.devices()[:devices])
        number: Any = np.arange(devices)
    else:
        function, number = jax.jit(device), np.int32(0)

    def theta(state) -> np.ndarray:
        if last:  # (devices, …, members) to members first
            state = [np.moveaxis(np.asarray(v), -1, devices > 1) for v in state]
        return _flatten(case, [np.asarray(v).reshape(members, *v.shape[v.ndim - k :]) for v, k in state_ranks(state)])

    def state_ranks(state):
        return zip(state, [v.ndim for v in _layout(case, start)], strict=True)

    return Trainer(run=lambda seed: jax.block_until_ready(function(np.uint32(seed), number)), theta=theta)


def _once(function, values):
    """All members in one call."""
    return function(values)


def _check_hoist(case: Case, prng: str, hoist: int | None) -> int:
    """The steps whose masks are drawn at once; an uneven division would silently train fewer steps."""
    unit = PACK if prng == "unrolled" and case.mask == "step" else 1
    if hoist is None:
        hoist = 2 * unit if prng == "unrolled" and case.steps % (2 * unit) == 0 else unit
    if hoist % unit or case.steps % hoist:
        raise ValueError(f"hoist must be a multiple of {unit} that divides {case.steps} steps, got {hoist}")
    return hoist


def _thin(case: Case) -> bool:
    return case.inputs == 1 and case.outputs == 1


def _layout(case: Case, start):
    """The state of one network: (a, w, b), each (m,), for thin networks, else (a, w)."""
    a, w = start
    return (a[0], w[:, 0], w[:, 1]) if _thin(case) else (a, w)


def _flatten(case: Case, state: list[np.ndarray]) -> np.ndarray:
    if _thin(case):
        a, w, b = state
        return flat(a, np.stack([w, b], axis=-1))
    return flat(*state)


def _train(case: Case, step, prng: str, hoist: int, block: tuple[int, ...], state, key, last=()):
    """All steps of one network, one block, or members in the last axis; masks are drawn `hoist` steps ahead."""
    per_sample = case.mask == "sample"
    scale = np.dtype(case.dtype).type(1 / case.keep_prob)
    samples = (case.samples,) if per_sample else ()

    def one(state, kept):
        return step(state, jnp.where(kept, scale, 0)), None

    def one_unpacked(state, packed):  # four samples to a byte: (..., n / 4, m)
        bits = packed[..., None, :] >> np.arange(PACK, dtype=np.uint8)[:, None] & np.uint8(1)
        return one(state, bits.reshape(*packed.shape[:-2], case.samples, case.width) != 0)

    def four(state, packed):  # four steps to a byte: (..., m)
        for bit in range(PACK):
            state, _ = one(state, packed >> np.uint8(bit) & np.uint8(1) != 0)
        return state, None

    def chunk(state, number):
        step_key = jax.random.fold_in(key, number)
        if prng != "unrolled":
            kept = _keep(step_key, (hoist, *block, *samples, case.width, *last), case.keep_prob)
            return lax.scan(one, state, kept) if hoist > 1 else one(state, kept[0])
        if per_sample:
            packed = _packed_masks(step_key, (hoist, *block, case.samples // PACK, case.width), case.keep_prob)
            return lax.scan(one_unpacked, state, packed)
        return lax.scan(four, state, _packed_masks(step_key, (hoist // PACK, *block, case.width), case.keep_prob))

    return lax.scan(chunk, state, jnp.arange(case.steps // hoist))[0]


def _keep(key, shape, p: float):
    return jax.random.bits(key, shape, "uint32") < np.uint32(round(2**32 * p))


def threefry(key, x0, x1):
    """Threefry-2x32, 20 rounds (Salmon et al., SC'11): the two output words of counters x0, x1."""
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for bits in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << np.uint32(bits)) | (x1 >> np.uint32(32 - bits)))
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _packed_masks(key, shape, p: float):
    """Four masks in the low bits of each byte: one fused pass, nothing else stored."""
    key, bound = jax.random.key_data(key), round(65536 * p)
    low, high = threefry(key, jnp.arange(np.prod(shape), dtype=np.uint32), np.uint32(0))
    halves = low & 0xFFFF, low >> 16, high & 0xFFFF, high >> 16
    return sum((half < bound).astype(np.uint8) << np.uint8(bit) for bit, half in enumerate(halves)).reshape(shape)


def _network_step(case: Case, x, y, gradient: str):
    """The step of one network: s is (m,) under step masks, (n, m) under sample masks."""
    n, lr = case.samples, np.dtype(case.dtype).type(case.lr)

    def loss(state, s):
        if _thin(case):
            a, w, b = state
            h = s * jnp.tanh(x[:, :1] * w + b)
            return 0.5 / n * jnp.square(h @ a - y[:, 0]).sum()
        a, w = state
        return 0.5 / n * jnp.square((s * jnp.tanh(x @ w.T)) @ a.T - y).sum()

    def manual(state, s):
        if _thin(case):
            a, w, b = state
            h = jnp.tanh(x[:, :1] * w + b)  # (n, m)
            e = ((s * h) @ a - y[:, 0]) / n
            t = e[:, None] * s * (1 - h * h)
            return e @ (s * h), a * (x[:, 0] @ t), a * t.sum(0)
        a, w = state
        h = jnp.tanh(x @ w.T)
        e = ((s * h) @ a.T - y) / n
        return e.T @ (s * h), ((e @ a) * s * (1 - h * h)).T @ x

    derivative = jax.grad(loss) if gradient == "autodiff" else manual
    return lambda state, s: jax.tree.map(lambda v, g: v - lr * g, state, derivative(state, s))


def _block_step(case: Case, x, y, form: str):
    """The step of a block of B networks: s is (B, m) under step masks, (B, n, m) under sample masks."""
    gradient = (_thin_gradient if _thin(case) else _wide_gradient)(case, x, y, form)
    lr = np.dtype(case.dtype).type(case.lr)
    return lambda state, s: tuple(v - lr * g for v, g in zip(state, gradient(*state, s), strict=True))


def _thin_gradient(case: Case, x, y, form: str):
    n, per_sample = case.samples, case.mask == "sample"
    points, targets = x[:, 0], y[:, 0]

    def gradient(a, w, b, s):
        h = jnp.tanh(points[:, None] * w[:, None, :] + b[:, None, :])  # (B, n, m)
        if per_sample:
            f = (h * s * a[:, None, :]).sum(2) if "reduce" in form else einsum("bij,bj->bi", h * s, a)
            outer = jnp.ones_like(a)
        else:
            f, outer = einsum("bij,bj->bi", h, s * a), s
        e = (f - targets) / n  # (B, n)
        if form == "dots":
            sh, t = (s * h, s * (1 - h * h)) if per_sample else (h, 1 - h * h)
            both = einsum("bki,bij->bkj", jnp.stack([e, e * points], axis=1), t)
            grad_a, grad_b, grad_w = einsum("bi,bij->bj", e, sh), both[:, 0], both[:, 1]
        else:
            # The sums over samples are unrolled: XLA fuses each into one vectorised pass over h.
            grad_a = grad_w = grad_b = 0
            for i in range(n):
                hi = h[:, i]
                ei = e[:, i : i + 1] * s[:, i] if per_sample else e[:, i : i + 1]
                t = ei * (1 - hi * hi)
                grad_a, grad_b, grad_w = grad_a + ei * hi, grad_b + t, grad_w + points[i] * t
            if form == "unrolled+dot":
                grad_a = einsum("bi,bij->bj", e, s * h if per_sample else h)
        return outer * grad_a, outer * a * grad_w, outer * a * grad_b

    return gradient


def _wide_gradient(case: Case, x, y, form: str):
    n, inputs = case.samples, x.shape[1]

    def gradient(a, w, s):
        s = s if case.mask == "sample" else s[:, None, :]
        if form == "one-gemm":  # all members' neurons in one product with the shared inputs
            z = (x @ w.reshape(-1, inputs).T).reshape(n, *w.shape[:2]).swapaxes(0, 1)
        else:
            z = einsum("iq,bjq->bij", x, w)
        h = jnp.tanh(z)
        e = (einsum("bij,bkj->bik", s * h, a) - y) / n
        t = einsum("bik,bkj->bij", e, a) * s * (1 - h * h)
        if form == "one-gemm":
            grad_w = (t.swapaxes(1, 2).reshape(-1, n) @ x).reshape(w.shape)
        else:
            grad_w = einsum("bij,iq->bjq", t, x)
        return einsum("bik,bij->bkj", e, s * h), grad_w

    return gradient
