# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnknownMemberType=false
"""A script as users write it, for type checkers: every public module, and the types that editors are to show.

It is checked by mypy and pyright, never run. Both refuse a comment that ignores an error where there is none: the lines
that end with one are mistakes that must be found.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import simdrop
from simdrop import data, errors, reproduce, scale, study

x = np.linspace(-1, 1, 4)
problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7, activation="tanh", mask="sample", loss="squared")
assert_type(problem, simdrop.Problem)
assert_type(problem.n_params, int)
own = simdrop.Problem(x, x, width=5, activation="softstep")  # a registered one is any text
theta0 = problem.init(seed=0)

runs = simdrop.simulate(
    problem, theta0, lr=simdrop.schedule.cosine(0.1, steps=50), steps=50, members=8, backend="numpy"
)
assert_type(runs, xr.Dataset)
flow = simdrop.flow(problem, theta0, lr=0.1, times=runs.time, kind="mean-covariance", method="DOP853")
paths = simdrop.sme(problem, theta0, lr=0.1, times=[0, 1], order=2, members=8, increments="masks")
assert_type(paths, xr.Dataset)

assert_type(simdrop.theory.r1(problem, runs["theta_mean"]), xr.DataArray)
assert_type(simdrop.theory.hessian(problem, theta0, objective="risk"), NDArray[np.float64])
assert_type(study.condensation.amplitudes(problem, runs["theta_mean"]), xr.DataArray)

found = simdrop.compare(problem, lr=0.1, steps=10, members=60, kinds=["averaged", "sme2"], progress=True)
assert_type(found, study.Comparison)
assert_type(found.table(), str)
assert_type(found.summary, dict[str, Any])
found.figure().savefig("comparison.svg")
simdrop.plots.distance(found, "risk", ax=found.figure().axes[0])
found.save("compared", overwrite=True)

ladder = study.order(problem, kinds=("averaged", "modified"), lrs=[0.1, 0.05, 0.025], backend="auto")
assert_type(ladder, study.Order)
assert_type(study.heat_map(problem), study.HeatMap)
assert_type(study.benchmark(backends=["numba"]), study.Benchmark)

table = data.load("prices.csv", target="price", missing="drop", categories="one-hot")
assert_type(table, data.Data)
map_of = scale.design({"problem": {"data": "sin"}, "sweep": {"lr": [0.1, 0.2]}})
assert_type(scale.plan(map_of).seconds, float)
assert_type(scale.sweep(map_of, "map", resume=True), xr.Dataset)

experiment = reproduce.reproduce("r1", reproduce.Settings(seeds=3, backend="numpy"))
assert_type(experiment.outcome.rows[0].verdict, reproduce.Verdict)
simdrop.plots.experiment(experiment, "accuracy", ax=found.figure().axes[0])
simdrop.plots.experiment("reproduced/r1", next(iter(reproduce.experiment("r1").panels)))

try:
    simdrop.simulate(problem, theta0, lr=0.1, steps=1)
except errors.InvalidInput as error:
    print(error)
except errors.Diverged:
    raise

simdrop.flow(problem, theta0, lr=0.1, times=[1], kind="modifed")  # type: ignore[arg-type]
simdrop.simulate(problem, theta0, lr=0.1, steps=10, backend="gpu")  # type: ignore[arg-type]
simdrop.simulate(problem, theta0, lr=0.1, steps=10, spacing="even", dtype="float16")  # type: ignore[arg-type]
simdrop.Problem(x, x, width=5, mask="both")  # type: ignore[arg-type]
simdrop.simulate(problem, theta0, 0.1, 10)  # type: ignore[call-arg]
data.load("prices.csv", missing="guess")  # type: ignore[arg-type]
found.heatmap()  # type: ignore[attr-defined]
