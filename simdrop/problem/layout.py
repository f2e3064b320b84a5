"""How the parameters of a problem lie in theta: a (c, m) row by row, then w (m, D), the bias last in its row."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.layout import join, split
from simdrop_kernels.contract.network import Train

from ..checks.labels import check_parameters_last
from ..checks.numbers import as_array, check_finite
from ..checks.words import counted
from ..errors import InvalidInput

Array = NDArray[np.float64]


class Layout:
    """The methods of a problem that know how its parameters lie."""

    x: Array
    y: Array
    width: int
    bias: bool
    train: Train

    @property
    def n_outputs(self) -> int:
        """Number c of outputs."""
        return self.y.shape[1]

    @property
    def n_inputs(self) -> int:
        """Number D of inputs of a neuron, the constant input of the bias included."""
        return self.x.shape[1] + self.bias

    @property
    def n_params(self) -> int:
        """Number P = m (c + D) of parameters."""
        return self.width * (self.n_outputs + self.n_inputs)

    @property
    def trained(self) -> slice:
        """Where the trained parameters are in theta."""
        cut = self.n_outputs * self.width
        return {"both": slice(None), "output": slice(cut), "input": slice(cut, None)}[self.train]

    def freeze(self, vectors: NDArray) -> NDArray:
        """Set the entries of parameters that are not trained to zero.

        Parameters
        ----------
        vectors : ndarray, shape (..., P)
            Vectors over the parameters, such as gradients.

        Returns
        -------
        ndarray, shape (..., P)
            `vectors` itself where all parameters are trained.
        """
        if self.train == "both":
            return vectors
        kept = np.zeros_like(vectors)
        kept[..., self.trained] = vectors[..., self.trained]
        return kept

    def split(self, theta: ArrayLike) -> tuple[NDArray, NDArray]:
        """Split theta into output and input weights.

        Parameters
        ----------
        theta : array_like, shape (..., P)
            Parameters.

        Returns
        -------
        a : ndarray, shape (..., c, m)
            Output weights, a view where theta is an array.
        w : ndarray, shape (..., m, D)
            Input weights, the bias last, a view likewise.

        Raises
        ------
        InvalidInput
            theta has another length.
        """
        check_parameters_last("theta", theta)
        theta = as_array("theta", theta)
        self._check_length("theta", theta.shape)
        return split(theta, self.n_outputs, self.n_inputs)

    def join(self, a: ArrayLike, w: ArrayLike) -> NDArray:
        """Join output and input weights to theta: the inverse of `split`.

        Parameters
        ----------
        a : array_like, shape (..., c, m)
            Output weights.
        w : array_like, shape (..., m, D)
            Input weights, the bias last.

        Returns
        -------
        ndarray, shape (..., P)
            theta.

        Raises
        ------
        InvalidInput
            The shapes are others; the message says so where the layout is that of another library.
        """
        a, w = as_array("a", a), as_array("w", w)
        self._check_layout("a", a.shape, (self.n_outputs, self.width), "(c, m)")
        self._check_layout("w", w.shape, (self.width, self.n_inputs), "(m, D)")
        if a.shape[:-2] != w.shape[:-2]:
            raise InvalidInput(f"a and w must have the same leading axes, got shapes {a.shape} and {w.shape}")
        return join(a, w)

    def check_theta(self, theta: ArrayLike, name: str = "theta") -> Array:
        """Check parameters of this problem.

        Parameters
        ----------
        theta : array_like, shape (..., P)
            Parameters.
        name : str
            What error messages call them.

        Returns
        -------
        ndarray, shape (..., P)
            theta in float64.

        Raises
        ------
        InvalidInput
            theta is not finite or has another length.
        """
        check_parameters_last(name, theta)
        theta = check_finite(name, theta)
        self._check_length(name, theta.shape)
        return theta

    def _check_length(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise InvalidInput unless `shape` is (..., P)."""
        if not shape or shape[-1] != self.n_params:
            each = f"{counted(self.n_outputs, 'output')} + {counted(self.n_inputs, 'input')}"
            raise InvalidInput(
                f"{name} must have {self.n_params} parameters (width {self.width} · ({each})), got shape {shape}"
            )

    def _check_layout(self, name: str, got: tuple[int, ...], wanted: tuple[int, int], axes: str) -> None:
        """Raise InvalidInput unless the weights `name` have shape (..., *wanted), with what else they may be."""
        if got[-2:] == wanted:
            return
        turned, short = wanted[::-1], (wanted[0], wanted[1] - 1)
        hint = ""
        if got[-2:] == turned:
            hint = f"; these are transposed, as the kernels of Keras and JAX are: pass {name}.T"
        elif name == "w" and self.bias and got[-2:] == short:
            hint = "; the column of biases is missing, which comes last: np.column_stack([w, b])"
        elif name == "w" and self.bias and got[-2:] == short[::-1]:
            hint = "; these are transposed, and the column of biases is missing: np.column_stack([w.T, b])"
        elif name == "w" and not self.bias and got[-2:] == (wanted[0], wanted[1] + 1):
            hint = "; this problem has bias=False, so that there is no column of biases"
        elif name == "a" and got == wanted[1:] and wanted[0] == 1:
            hint = "; with one output it is a row: pass a[None]"
        raise InvalidInput(f"{name} must have shape (..., {wanted[0]}, {wanted[1]}) = {axes}, got {got}{hint}")
