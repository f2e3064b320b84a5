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
