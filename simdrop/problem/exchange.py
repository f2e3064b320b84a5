"""The methods of a problem by which weights come from other libraries and go there."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.words import check_choice
from .weights import Network, exported, imported


class Exchange:
    """Base of `Problem`."""

    def import_weights(self, source: Any, *, output_bias: Literal["refuse", "drop"] = "refuse") -> NDArray[np.float64]:
        """Take the weights of a network that another library made.

        Parameters
        ----------
        source : torch.nn.Module, Keras model, scikit-learn MLPRegressor or MLPClassifier, or mapping
            A network of this problem's shape; or named arrays, such as a state_dict, what `numpy.load` returns, or the
            parameters of Flax: two layers whose arrays have names that end in "weight", (units, inputs), or "kernel",
            (inputs, units), and "bias". Names a and w, or a, w and b, are this problem's own arrays.
        output_bias : {"refuse", "drop"}
            What becomes of a bias of the outputs, which this network does not have. Without it, and with targets
            y - bias, the loss is the same.

        Returns
        -------
        ndarray, shape (P,)
            theta, for which `predict` gives the outputs of the source without dropout.

        Raises
        ------
        InvalidInput
            The source has another depth, activation, shape or layout, or a bias of its outputs; the message names the
            array, its shape and the one expected.

        Notes
        -----
        The weights of the outputs are divided by `output_scale`, those named a are not. Dropout layers are passed over.
        The activation of a module of PyTorch that is no Sequential is not known, and not checked.

        Examples
        --------
        >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
        >>> kernels = {"hidden": {"kernel": [[1, 2, 3]], "bias": [0, 0, 1]}, "out": {"kernel": [[4], [5], [6]]}}
        >>> problem.import_weights(kernels).tolist()
        [4.0, 5.0, 6.0, 1.0, 0.0, 2.0, 0.0, 3.0, 1.0]
        """
        check_choice("output_bias", output_bias, ("refuse", "drop"))
        return imported(cast(Network, self), source, keep_bias=output_bias == "refuse")

    def export_weights(self, theta: ArrayLike, *, to: Literal["torch", "numpy"] = "numpy") -> Any:
        """Give parameters to another library.

        Parameters
        ----------
        theta : array_like, shape (..., P)
            Parameters; of one network, shape (P,), for "torch".
        to : {"numpy", "torch"}
            "numpy" for named arrays, "torch" for a module of PyTorch.

        Returns
        -------
        dict or torch.nn.Sequential
            Arrays "hidden.weight" (..., m, d), "hidden.bias" (..., m) and "output.weight" (..., c, m) with the output
            scale in them; or Linear, activation, Dropout and Linear of these, in float64 and in evaluation mode.

        Raises
        ------
        InvalidInput
            theta does not fit the problem, PyTorch is not installed, or has no layer for the activation.

        Examples
        --------
        >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
        >>> {name: array.shape for name, array in problem.export_weights(problem.init(seed=0)).items()}
        {'hidden.weight': (3, 1), 'hidden.bias': (3,), 'output.weight': (1, 3)}
        """
        problem = cast(Network, self)
        check_choice("to", to, ("numpy", "torch"))
        return exported(problem, problem.check_theta(theta), to)
