"""The trajectory of one member: which of its steps a study looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InvalidInput
from ...problem import Problem, check_problem
from ...theory._input import Array

if TYPE_CHECKING:
    import xarray as xr


#: what the variables of this room's results hold, for `output.variables.described`
WORDS = {
    "above": "neurons above the threshold of relative amplitude",
    "small_share": "share of small neurons",
    "dead_share": "share of neurons that are 0 for all samples",
    "effective_ratio": "directions that stand for all neurons, over the number of neurons",
    "holding": "heaviest clusters that hold 95 % of the amplitude",
    "near": "share of the large neurons near an orientation of the teacher",
    "alpha": "place on a line, in units of its direction",
    "beta": "place on a second line, in units of its direction",
    "mean": "mean loss over directions",
    "std": "standard deviation of the loss over directions",
    "error": "standard error of mean",
    "trace": "trace of the Hessian",
    "top_eigenvalue": "largest eigenvalue of the Hessian",
    "alignment": "Tr(HΣ) / (|H| |Σ|)",
    "null_mean": "mean of the alignment of random axes",
    "null_std": "standard deviation of the alignment of random axes",
    "score": "alignment less null_mean, in units of null_std",
    "p_value": "share of random axes at least as aligned",
    "variance": "variance of the noise along the direction",
    "curvature": "curvature along the direction",
    "width": "length of the interval on which the loss stays low",
}
#: largest P of which a dense matrix is made
MOST = 5000


def trajectory(problem: Problem, theta: ArrayLike | xr.Dataset) -> tuple[tuple[str, ...], dict[str, Any], Array]:
    """Names and coordinates of the leading axes, and theta (..., P) with NaN for members that diverged."""
    import xarray as xr

    check_problem(problem)
    if isinstance(theta, xr.Dataset):
        if "theta" not in theta:
            raise InvalidInput("the run kept no parameters: simulate(..., keep_theta=True) or with member numbers")
        kept = theta["theta"]
        dims = tuple(str(dim) for dim in kept.dims[:-1])
        if kept.shape[-1] != problem.n_params:
            raise InvalidInput(f"the run has {kept.shape[-1]} parameters, the problem {problem.n_params}")
        coords = {name: kept[name] for name in dims if name in kept.coords}
        return dims, coords, kept.values.astype(np.float64)
    values = problem.check_theta(theta)
    return tuple(f"axis_{k}" for k in range(values.ndim - 1)), {}, values
