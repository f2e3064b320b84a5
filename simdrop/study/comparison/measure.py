"""What compare() measures: distances over time, the flows on the grid, the size of each loss along each path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ... import theory
from ...output.storage import texts
from ...problem import Problem
from ...theory.flows.integration import workplace
from ..distances import Array, Estimate, root, share_removed, squared_distance

if TYPE_CHECKING:
    import xarray as xr

#: what is held against the flows -> how its distance is defined
QUANTITIES = {
    "parameters": "2-norm of the difference between the mean parameters and the flow's",
    "function": "root mean square difference, over the grid and the outputs, between the mean output and the flow's",
    "risk": "difference between the mean risk R_S of the networks and the flow's",
}
Progress = Callable[[str, int, int], None]


def squared_distances(runs: xr.Dataset, flows: xr.Dataset) -> dict[tuple[str, str], Estimate]:
    """The unbiased squared distance (T,) of every flow in every quantity: (quantity, kind) -> Estimate."""
    counts = runs["group_alive"].values
    points = np.sqrt(flows["f"][0, 0].size)
    found = {}
    for quantity, simulated, predicted, unit in (
        ("parameters", "group_theta_mean", "theta", 1.0),
        ("function", "group_f_mean", "f", points),
        ("risk", "group_risk_mean", "risk", 1.0),
    ):
        means = runs[simulated].values.reshape(*counts.shape, -1) / unit
        for kind in flows["kind"].values:
            prediction = flows[predicted].sel(kind=kind).values.reshape(len(counts), -1) / unit
            found[quantity, str(kind)] = squared_distance(means, counts, prediction)
    return found


def over_time(squared: dict[tuple[str, str], Estimate], runs: xr.Dataset, flows: xr.Dataset) -> xr.Dataset:
    """Distances, shares and the sampling noise at every record time."""
    import xarray as xr

    kinds = [str(kind) for kind in flows["kind"].values]
    estimates = [[squared[quantity, kind] for kind in kinds] for quantity in QUANTITIES]
    plain = kinds.index("gradient")
    lost = runs["alive"].values < runs.sizes["member"]
    roots = np.array([[root(e.value, e.error, lost=lost) for e in row] for row in estimates])  # (quantity, kind, 2, T)
    shares = np.array([[share_removed(e, row[plain]) for e in row] for row in estimates])
    axes = ("quantity", "kind", "time")
    return xr.Dataset(
        {
            "distance": (axes, roots[:, :, 0]),
            "error": (axes, roots[:, :, 1], {"long_name": "standard error of distance"}),
            "share": (axes, shares[:, :, 0], {"long_name": "share of plain gradient flow's distance removed"}),
            "share_error": (axes, shares[:, :, 1], {"long_name": "standard error of share"}),
            "noise": (("quantity", "time"), _noise(runs), {"long_name": "distance that sampling alone would give"}),
        },
        {"quantity": texts(QUANTITIES), "kind": texts(kinds), "time": runs["time"]},
    )


def _noise(runs: xr.Dataset) -> Array:
    """(quantity, T): √(tr Cov / M), the root mean square distance of the sample mean from the mean."""
    alive = runs["alive"].values
    variances = (
        np.square(runs["theta_std"].values).sum(axis=1),
        np.square(runs["f_std"].values).mean(axis=(1, 2)),
        np.square(runs["risk_std"].values),
    )
    return np.sqrt(np.array(variances) / np.maximum(alive, 1))


def integrate_flows(
    problem: Problem,
    theta0: Array,
    lr: float,
    times: Array,
    kinds: Sequence[str],
    points: Array,
    tell: Progress,
) -> xr.Dataset:
    """The flows, with their functions on the grid, along a dimension `kind`."""
    import xarray as xr

    found, attrs = [], {"lr": lr}
    for number, kind in enumerate(kinds):
        one = theory.flow(problem, theta0, lr=lr, times=times, kind=kind)
        attrs |= {f"{kind} {name}": one.attrs[name] for name in ("method", "rtol", "atol", "nfev", "seconds")}
        f = problem.predict(one["theta"].values, points)
        found.append(one.assign(f=(("time", "point", "output"), f)).drop_attrs())
        tell("flows", number + 1, len(kinds))
    dimension = xr.Variable("kind", texts(kinds))
    together = xr.concat(found, dimension, data_vars="all", coords="minimal", compat="override", join="exact")
    return together.assign_coords(grid=(("point", "input"), points)).assign_attrs(attrs)


def sizes(problem: Problem, lr: float, runs: xr.Dataset, flows: xr.Dataset) -> xr.Dataset:
    """Value and norm of the gradient of R_S, R_1 and R_2 along each flow and the mean parameters."""
    import xarray as xr

    paths = {str(kind): flows["theta"].sel(kind=kind).values for kind in flows["kind"].values}
    paths["mean of the ensemble"] = runs["theta_mean"].values
    terms = ("risk", "r1", "r2")
    value = np.full((len(paths), len(terms), runs.sizes["time"]), np.nan)
    norm = value.copy()
    with workplace(problem):
        for i, theta in enumerate(paths.values()):
            for k in np.flatnonzero(np.isfinite(theta).all(axis=1)):
                for j, term in enumerate(terms):
                    # One point at a time: R_2 holds n² numbers for each.
                    value[i, j, k] = theory.loss(problem, theta[k], objective=term, lr=lr)
                    norm[i, j, k] = np.linalg.norm(theory.gradient(problem, theta[k], objective=term, lr=lr))
    axes = ("path", "term", "time")
    return xr.Dataset(
        {
            "value": (axes, value, {"long_name": "R_S, R_1 or R_2"}),
            "gradient_norm": (axes, norm, {"long_name": "2-norm of its gradient"}),
        },
        {"path": texts(paths), "term": texts(terms), "time": runs["time"]},
    )
