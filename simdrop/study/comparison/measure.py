"""What compare() measures: predictions on the grid, distances over time, the size of each loss along each path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simdrop_kernels.mathematics.losses.table import find

from ... import theory
from ...output.progress import Progress
from ...output.storage import texts
from ...output.variables import described, with_parameters
from ...schedule.base import Schedule
from ...theory.any_loss import unknown
from ...theory.flows.integration import workplace
from ..case import FAILURES, QUANTITIES, Case, Predicted, distances
from ..distances import WORDS, Array, Estimate, root, share_removed
from ..predictions import PREDICTIONS

if TYPE_CHECKING:
    import xarray as xr


def follow_all(case: Case, kinds: Sequence[str], tell: Progress) -> dict[str, Predicted]:
    """What each kind predicts at the times of `case`. Raises FlowFailed and Diverged, which say for which kind."""
    found = {}
    for number, kind in enumerate(kinds):
        one = PREDICTIONS[kind]
        assert one.mean is not None
        try:
            found[kind] = one.mean(case)
        except FAILURES as error:
            error.add_note(f"this was kind {kind!r}")
            raise
        tell("flows", number + 1, len(kinds))
    return found


def as_dataset(predicted: Mapping[str, Predicted], case: Case) -> xr.Dataset:
    """The means that are predicted, along a dimension `kind`, with R_1 and R_2 at the mean parameters."""
    import xarray as xr

    problem, lr, axes = case.problem, case.rates, ("kind", "time")
    over_time = {"lr": ("time", lr) if isinstance(case.lr, Schedule) else lr}
    attrs = {"lr": str(case.lr) if isinstance(case.lr, Schedule) else lr}
    r1, r2 = [], []
    for one in predicted.values():
        theta = one.mean("theta")
        r1.append(one.terms["r1"] if one.terms else theory.loss(problem, theta, objective="r1", noise=case.noise))
        r2.append(
            one.terms["r2"] if one.terms else theory.loss(problem, theta, objective="r2", lr=lr, noise=case.noise)
        )
    of_classes = {}
    if find(problem.loss).targets != "numbers":
        of_classes["accuracy"] = (axes, theory.accuracy(problem, [one.mean("theta") for one in predicted.values()]))
    found = xr.Dataset(
        {
            "theta": ((*axes, "param"), np.array([one.mean("theta") for one in predicted.values()])),
            "risk": (axes, np.array([one.mean("risk") for one in predicted.values()])),
            "r1": (axes, np.array(r1)),
            "r2": (axes, np.array(r2)),
            "f": ((*axes, "point", "output"), np.array([one.mean("f") for one in predicted.values()])),
            **of_classes,
        },
        {
            "kind": texts(predicted), "time": np.asarray(case.where), "keep_prob": problem.keep_prob,
            "grid": (("point", "input"), case.points),
        } | over_time,
        attrs | {f"{kind} {name}": held for kind, one in predicted.items() for name, held in one.attrs.items()},
    )  # fmt: skip
    return described(with_parameters(found, problem), WORDS)


def squared_distances(runs: xr.Dataset, predicted: Mapping[str, Predicted]) -> dict[tuple[str, str], Estimate]:
    """The unbiased squared distance (T,) of every prediction in every quantity: (quantity, kind) -> Estimate."""
    counts = runs["group_alive"].values
    found = {}
    for quantity, simulated in zip(QUANTITIES, ("theta", "f", "risk"), strict=True):
        means = runs[f"group_{simulated}_mean"].values.reshape(*counts.shape, -1)
        if quantity == "function":
            means = means / np.sqrt(means.shape[-1])
        for kind, one in predicted.items():
            found[quantity, kind] = distances(counts, means, one.counts, one.rows(quantity))
    return found


def over_time(
    squared: Mapping[tuple[str, str], Estimate], runs: xr.Dataset, predicted: Mapping[str, Predicted]
) -> xr.Dataset:
    """Distances, shares, the sampling noise of the ensemble and that of sampled predictions, at every record time."""
    import xarray as xr

    kinds = list(predicted)
    estimates = [[squared[quantity, kind] for kind in kinds] for quantity in QUANTITIES]
    plain = kinds.index("gradient")
    lost = runs["alive"].values < runs.sizes["member"]
    roots = np.array([[root(e.value, e.error, lost=lost) for e in row] for row in estimates])  # (quantity, kind, 2, T)
    shares = np.array([[share_removed(e, row[plain]) for e in row] for row in estimates])
    axes = ("quantity", "kind", "time")
    found = xr.Dataset(
        {
            "distance": (axes, roots[:, :, 0]),
            "error": (axes, roots[:, :, 1]),
            "share": (axes, shares[:, :, 0]),
            "share_error": (axes, shares[:, :, 1]),
            "noise": (("quantity", "time"), _noise(runs)),
        },
        {"quantity": texts(QUANTITIES), "kind": texts(kinds), "time": runs["time"]},
    )
    if any(one.sampled for one in predicted.values()):
        own = np.array([[one.noise(quantity) for one in predicted.values()] for quantity in QUANTITIES])
        found["own_noise"] = (axes, own)
    return described(found, WORDS)


def _noise(runs: xr.Dataset) -> Array:
    """(quantity, T): √(tr Cov / M), the root mean square distance of the sample mean from the mean."""
    alive = runs["alive"].values
    variances = (
        np.square(runs["theta_std"].values).sum(axis=1),
        np.square(runs["f_std"].values).mean(axis=(1, 2)),
        np.square(runs["risk_std"].values),
    )
    return np.sqrt(np.array(variances) / np.maximum(alive, 1))


def sizes(case: Case, runs: xr.Dataset, flows: xr.Dataset) -> xr.Dataset:
    """Value and norm of the gradient of R_S, R_1 and R_2 along each flow and the mean parameters."""
    import xarray as xr

    problem, noise = case.problem, case.noise
    paths = {str(kind): flows["theta"].sel(kind=kind).values for kind in flows["kind"].values}
    paths["mean of the ensemble"] = runs["theta_mean"].values
    terms = ("risk", "r1", "r2")
    known = terms if problem.loss == "squared" else terms[: 1 if unknown(problem, noise) else 2]  # NaN for the others
    if noise is not None and noise.connect < 1:
        known = terms[:2]
    lrs = np.broadcast_to(case.rates, runs.sizes["time"])
    value = np.full((len(paths), len(terms), runs.sizes["time"]), np.nan)
    norm = value.copy()
    with workplace(problem):
        for i, theta in enumerate(paths.values()):
            for k in np.flatnonzero(np.isfinite(theta).all(axis=1)):
                for j, term in enumerate(known):
                    # One point at a time: R_2 holds n² numbers for each.
                    about: dict[str, Any] = {"objective": term, "lr": lrs[k], "noise": noise}
                    value[i, j, k] = theory.loss(problem, theta[k], **about)
                    norm[i, j, k] = np.linalg.norm(theory.gradient(problem, theta[k], **about))
    axes = ("path", "term", "time")
    found = xr.Dataset(
        {"value": (axes, value), "gradient_norm": (axes, norm)},
        {"path": texts(paths), "term": texts(terms), "time": runs["time"]},
    )
    return described(found, WORDS)
