"""How the parameters of a member lie in theta: (m output weights c times, then m input weights d times)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .network import Network


def width_of(x: NDArray, y: NDArray, theta: NDArray) -> int:
    """The number m of neurons: P = m (c + D) for x (..., n, D), y (..., n, c), theta (..., P)."""
    return theta.shape[-1] // (x.shape[-1] + y.shape[-1])


def split(theta: NDArray, outputs: int, inputs: int) -> tuple[NDArray, NDArray]:
    """Views of theta (..., P): output weights a (..., c, m) and input weights w (..., m, D)."""
    width = theta.shape[-1] // (inputs + outputs)
    lead = theta.shape[:-1]
    cut = outputs * width
    return theta[..., :cut].reshape(*lead, outputs, width), theta[..., cut:].reshape(*lead, width, inputs)


def join(a: NDArray, w: NDArray) -> NDArray:
    """The flat theta (..., P) of a (..., c, m) and w (..., m, D): the inverse of `split`."""
    lead = a.shape[:-2]
    return np.concatenate([a.reshape(*lead, -1), w.reshape(*lead, -1)], axis=-1)


def frozen(network: Network, x: NDArray, y: NDArray, theta: NDArray) -> slice:
    """Where in theta the weights stand that are not trained."""
    cut = width_of(x, y, theta) * y.shape[-1]
    return {"both": slice(0), "output": slice(cut, None), "input": slice(cut)}[network.train]


def trained(network: Network, x: NDArray, y: NDArray, vectors: NDArray) -> NDArray:
    """Vectors (..., P) with zeros for the weights that are not trained; themselves where all are."""
    if network.train == "both":
        return vectors
    a, w = split(vectors, y.shape[-1], x.shape[-1])
    return join(a, np.zeros_like(w)) if network.train == "output" else join(np.zeros_like(a), w)
