"""Every argument of every public function: what it is not made for is refused in one line that names it.

A call with one argument replaced either works or raises InvalidInput; what no argument of its kind may ever be, such
as text for a number, must be refused. `DOORS` has a call that works for each function, `KINDS` what an argument is.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

import simdrop
from simdrop import activations, data, reproduce, scale, schedule, study, theory
from simdrop.errors import Diverged, FlowFailed, InvalidInput
from simdrop.output import storage
from simdrop.study.landscape import alignment, condensation, flatness
from simdrop.study.throughput.measure import benchmark
from simdrop_kernels import BackendError

X = np.linspace(-1, 1, 5)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=3, keep_prob=0.8)
TWO = simdrop.Problem([-1.0, 1.0], [0.3, -0.2], width=3, keep_prob=0.8)
LINEAR = simdrop.Problem(X, np.sin(3 * X), width=3, keep_prob=0.8, train="output")
THETA = PROBLEM.init(seed=1)
CLASSES = simdrop.Problem([-1.0, 1.0], [0, 1], width=3, keep_prob=0.8, loss="softmax")
P = PROBLEM.n_params
SQUARE = np.diag(np.arange(1.0, P + 1))

SWEEP: dict[str, Any] = {
    "problem": {"data": "sin", "width": 3},
    "simulate": {"members": 4, "steps": 2, "backend": "numpy"},
    "sweep": {"lr": [0.1]},
}

#: name -> value; some are right for some arguments
NASTY: dict[str, Any] = {
    "None": None,
    "text": "a",
    "bytes": b"a",
    "True": True,
    "np.True_": np.True_,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "empty list": [],
    "two numbers": [1, 2],
    "ragged": [[1], [1, 2]],
    "texts": ["a", "b"],
    "an object": object(),
    "complex": 1j,
    "2**64": 1 << 64,
    "-2**70": -(1 << 70),
    "10**400": 10**400,
    "masked": np.ma.array([1.0, 2.0], mask=[False, True]),
    "date": np.datetime64("2024-01-01"),
    "span": np.timedelta64(3, "D"),
    "spans as objects": np.array([np.timedelta64(3, "s"), 1.0], dtype=object),
    "a boolean beside numbers": [True, 1.5],
    "masked in a list": [np.ma.array([1.0, 2.0], mask=[False, True]), [1.0, 2.0]],
    "dict": {"a": 1},
    "set": {1.0},
    "NaNs": np.array([np.nan, 1.0]),
    "array of objects": np.array([object()]),
    "matrix of text": np.array([["a"]]),
    "function": len,
    "type": int,
}
#: what an argument of a kind may never be; the rest may be refused or not
EVER: tuple[str, ...] = (
    "text",
    "bytes",
    "an object",
    "complex",
    "masked",
    "date",
    "span",
    "dict",
    "set",
    "ragged",
    "texts",
)
EVER += ("spans as objects", "a boolean beside numbers", "masked in a list")
EVER += ("array of objects", "matrix of text", "type", "function", "10**400")
NUMBERS = (*EVER, "True", "np.True_", "nan", "NaNs", "inf", "-inf")
KINDS: dict[str, tuple[str, ...]] = {
    "array": NUMBERS,
    "positive": (*NUMBERS, "0", "-1", "two numbers", "empty list", "None", "-2**70"),
    "limit": (*NUMBERS, "0", "-1", "two numbers", "empty list"),
    "number": (*NUMBERS, "two numbers", "empty list"),
    "count": (*NUMBERS, "-1", "0", "1.5", "two numbers", "empty list", "-2**70"),
    "count or 0": (*NUMBERS, "-1", "1.5", "two numbers", "empty list", "-2**70"),
    "seed": (*NUMBERS, "-1", "1.5", "2**64", "-2**70", "empty list"),
    "flag": tuple(name for name in NASTY if name not in ("True", "np.True_", "None")),
    "name": tuple(name for name in NASTY if name != "None"),
    "names": tuple(name for name in NASTY if name not in ("None", "empty list")),
    "function": tuple(name for name in NASTY if name not in ("None", "True", "function", "type")),
    "path": tuple(name for name in NASTY if name not in ("None", "text")),
    "object": tuple(name for name in NASTY if name != "None"),
    "members": tuple(name for name in NUMBERS if name not in ("True", "np.True_")),
    "any": (),
}


@dataclass(frozen=True)
class Door:
    """A function, arguments with which it works, the kinds of its arguments, and other words that name one.

    works: a function of an empty folder where arguments are files
    """

    function: Callable[..., Any]
    works: dict[str, Any] | Callable[[Path], dict[str, Any]]
    kinds: str
    words: dict[str, str] = field(default_factory=dict)

    def arguments(self, folder: Path) -> dict[str, Any]:
        return self.works(folder) if callable(self.works) else self.works


@wraps(scale.sweep)
def swept(design: Any, out: Any = None, **others: Any) -> Any:
    """A sweep into a folder of its own, unless it is told which."""
    return scale.sweep(design, f"sweep-{uuid4().hex}" if out is None else out, **others)


@wraps(activations.register)
def registered(name: Any, *functions: Any, **others: Any) -> None:
    """A registration under a name that is still free, unless it is told which."""
    activations.register(f"own_{uuid4().hex}" if name is None else name, *functions, **others)


def table(folder: Path) -> dict[str, Any]:
    file = folder / "table.csv"
    file.write_text("x1,x2,y\n1,2,3\n2,5,4\n3,3,1\n")
    return {"spec": file, "target": "y"}


def file_of_a_sweep(folder: Path) -> dict[str, Any]:
    file = folder / "sweep.toml"
    file.write_text('[problem]\ndata = "sin"\nwidth = 3\n[simulate]\nmembers = 4\nsteps = 2\n[sweep]\nlr = [0.1]\n')
    return {"path": file}


def results_of_a_sweep(folder: Path) -> dict[str, Any]:
    scale.sweep(scale.design(SWEEP), folder / "out")
    return {"folder": folder / "out"}


def kinds_of(text: str) -> dict[str, str]:
    """From "kind: name name; kind: name"."""
    parts = (part.split(":") for part in text.split(";") if part.strip())
    return {name: kind.strip() for kind, names in parts for name in names.split()}


TRAIN = {"problem": PROBLEM, "theta0": THETA, "lr": 0.1, "steps": 2, "members": 4, "backend": "numpy", "threads": 1}
PATHS = {"problem": PROBLEM, "theta0": THETA, "lr": 0.1, "times": [0.1], "members": 4, "backend": "numpy", "threads": 1}
AT = {"problem": PROBLEM, "theta": THETA}
RECORDED = (
    "members: keep_theta covariance; array: grid quantiles; count or 0: groups; count: threads memory block_size;"
    "function: progress; limit: risk_limit; name: backend dtype;"
)
LANDSCAPE = "object: problem; array: theta directions; name: objective;"

DOORS = {
    "Problem": Door(
        simdrop.Problem,
        {"x": X, "y": X, "width": 3},
        "array: x y; count: width; positive: keep_prob output_scale; name: activation mask train loss; flag: bias;"
        "number: weight_decay",
    ),
    "Problem.init": Door(
        PROBLEM.init, {}, "seed: seed; number: scale gamma; name: gamma_of; count: members"
    ),
    "Problem.predict": Door(
        PROBLEM.predict, {"theta": THETA, "masks": 2}, "array: theta x; count: masks; seed: seed", {"x": "x|points"}
    ),
    "Problem.import_weights": Door(
        PROBLEM.import_weights,
        {"source": dict(zip("aw", PROBLEM.split(THETA), strict=True))},
        "object: source; name: output_bias",
    ),
    "Problem.export_weights": Door(PROBLEM.export_weights, {"theta": THETA}, "array: theta; name: to"),
    "Problem.probabilities": Door(
        simdrop.Problem(X, [0] + [1] * (len(X) - 1), width=3, loss="logistic").probabilities, {"theta": THETA},
        "array: theta x", {"x": "x|points"},
    ),
    "Problem.split": Door(PROBLEM.split, {"theta": THETA}, "array: theta"),
    "Problem.join": Door(PROBLEM.join, dict(zip("aw", PROBLEM.split(THETA), strict=True)), "array: a w"),
    "Problem.augment, points": Door(PROBLEM.augment, {"x": X}, "array: x", {"x": "x|points"}),
    "Noise": Door(
        simdrop.Noise,
        {},
        "count: masks batch_size; name: law part place order; flag: replace;"
        "number: label parameter; positive: connect",
    ),
    "masks": Door(
        simdrop.masks,
        {"seed": 0, "member": 0, "step": 0, "width": 3, "keep_prob": 0.5},
        "seed: seed; array: member step keep_prob; count: width samples; flag: independent",
    ),
    "simulate": Door(
        simdrop.simulate,
        TRAIN,
        "object: problem noise; array: theta0 lr keep_prob numbers record; count: steps members batch_size svag;"
        "seed: seed; names: place; name: optimizer spacing; any: objective penalty clip; flag: replace norms resume"
        " overwrite keep_risk keep_state; number: checkpoint_seconds; path: out checkpoint;"
        " object: optimizer_options test observe; function: stop;" + RECORDED,
        {"optimizer_options": "optimizer option|optimizer_options"},
    ),
    "sme": Door(
        simdrop.sme,
        PATHS,
        "object: problem noise; array: theta0 times; positive: lr; name: order scheme increments; count: members"
        " substeps; seed: seed; flag: antithetic overwrite; path: out;" + RECORDED,
    ),
    "flow": Door(
        simdrop.flow,
        {"problem": PROBLEM, "theta0": THETA, "lr": 0.1, "times": [0.1]},
        "object: problem noise; array: theta0 times covariance0; positive: lr rtol; number: atol; name: kind method;"
        "count: rank max_evaluations covariance_order; seed: seed member; flag: corrected",
    ),
    "flow, pathwise": Door(
        simdrop.flow,
        {"problem": PROBLEM, "theta0": THETA, "lr": 0.1, "times": [0.1], "kind": "pathwise"},
        "seed: seed member; flag: corrected",
    ),
    "flow, mean-covariance": Door(
        simdrop.flow,
        {"problem": PROBLEM, "theta0": THETA, "lr": 0.1, "times": [0.1], "kind": "mean-covariance"},
        "array: covariance0; count: rank max_evaluations",
    ),
    "risk": Door(theory.risk, AT, "object: problem; array: theta"),
    "r1": Door(theory.r1, AT, "object: problem; array: theta keep_prob"),
    "r2": Door(theory.r2, AT | {"lr": 0.1}, "object: problem; array: theta keep_prob lr"),
    "modified_loss": Door(theory.modified_loss, AT | {"lr": 0.1}, "object: problem; array: theta keep_prob lr"),
    "loss": Door(
        theory.loss,
        AT | {"objective": "risk+r1+r2", "lr": 0.1},
        "object: problem noise; array: theta keep_prob lr; name: objective",
    ),
    "gradient": Door(
        theory.gradient,
        AT | {"objective": "risk+r1+r2", "lr": 0.1},
        "object: problem noise; array: theta keep_prob lr; name: objective",
    ),
    "mean_gradient": Door(theory.mean_gradient, AT, "object: problem noise; array: theta keep_prob; name: how"),
    "mean_risk": Door(theory.mean_risk, AT, "object: problem noise; array: theta keep_prob; name: how"),
    "second_moment": Door(theory.second_moment, AT, "object: problem noise; array: theta keep_prob"),
    "noise_covariance": Door(theory.noise_covariance, AT, "object: problem noise; array: theta keep_prob"),
    "covariance_product": Door(
        theory.covariance_product, AT | {"direction": THETA}, "object: problem noise; array: theta keep_prob direction"
    ),
    "dropout_gradient": Door(
        theory.dropout_gradient,
        AT | {"mask": np.array([True, False, True])},
        "object: problem mask; array: theta keep_prob",
    ),
    "accuracy": Door(theory.accuracy, {"problem": CLASSES, "theta": CLASSES.init()}, "object: problem; array: theta"),
    "hessian": Door(theory.hessian, AT, "object: problem; array: theta keep_prob; name: objective"),
    "hessian_trace": Door(theory.hessian_trace, AT, "object: problem; array: theta keep_prob; name: objective"),
    "hessian_product": Door(
        theory.hessian_product,
        AT | {"direction": THETA},
        "object: problem; array: theta keep_prob direction; name: objective",
    ),
    "hessian_operator": Door(theory.hessian_operator, AT, "object: problem; array: theta keep_prob; name: objective"),
    "mean_output": Door(
        theory.mean_output,
        AT | {"blocks": np.zeros((3, 3, 3)), "x": X},
        "object: problem; array: theta blocks x",
        {"x": "x|points"},
    ),
    "linear_moments": Door(
        theory.linear_moments,
        {"problem": LINEAR, "theta0": THETA, "lr": 0.1, "steps": 2},
        "object: problem noise; array: theta0 steps covariance0; positive: lr",
    ),
    "limit_point": Door(
        theory.limit_point,
        {"problem": TWO, "theta0": TWO.init(seed=0)},
        "object: problem; array: theta0; positive: rtol longest; number: atol",
    ),
    "linear_optimum": Door(
        theory.linear_optimum,
        {"problem": simdrop.Problem(X, X, width=3, keep_prob=0.8, activation="linear")},
        "object: problem",
    ),
    "manifold_paths": Door(
        theory.manifold_paths,
        lambda folder: {
            "problem": TWO, "theta0": theory.limit_point(TWO, TWO.init(seed=0)), "lr": 0.01, "times": [0.01],
            "members": 2, "steps": 2,
        },
        "object: problem noise; array: theta0 times; positive: lr; count: members steps; seed: seed; flag: antithetic",
    ),
    "stationary_moments": Door(
        theory.stationary_moments,
        {"problem": LINEAR, "theta": THETA, "lr": 0.01},
        "object: problem noise; array: theta; positive: lr",
    ),
    "stability_threshold": Door(
        theory.stability_threshold,
        {"problem": LINEAR, "theta": THETA},
        "object: problem noise; array: theta; number: flat; count: masks; seed: seed",
        {"seed": "seed|masks"},
    ),
    "schedule.piecewise": Door(schedule.piecewise, {"values": {0: 0.1}}, "object: values", {"values": "lr"}),
    "schedule.power": Door(schedule.power, {"lr": 0.1, "exponent": 1.0}, "array: lr exponent scale"),
    "schedule.cosine": Door(schedule.cosine, {"lr": 0.1, "steps": 3}, "array: lr final; count: steps"),
    "schedule.exponential": Door(schedule.exponential, {"lr": 0.1, "factor": 0.9}, "array: lr factor"),
    "schedule.warmup": Door(
        schedule.warmup, {"then": 0.1, "steps": 3}, "array: then start; count: steps", {"then": "then|lr"}
    ),
    "schedule.of_steps": Door(schedule.of_steps, {"values": [0.1]}, "array: values"),
    "schedule.parse": Door(schedule.parse, {"text": "0.1"}, "name: text; any: name", {"text": "lr"}),
    "Quadratic": Door(theory.Quadratic, {"lr": 0.1}, "positive: lr; number: x0"),
    "Quadratic.sgd": Door(theory.Quadratic(lr=0.1).sgd, {"steps": 3}, "array: steps"),
    "Quadratic.sme": Door(theory.Quadratic(lr=0.1).sme, {"times": 1.0, "order": 1}, "array: times; name: order"),
    "Quadratic.simulate": Door(
        theory.Quadratic(lr=0.1).simulate, {"steps": 3, "members": 2}, "count: steps members; seed: seed"
    ),
    "compare": Door(
        simdrop.compare,
        TRAIN | {"record": 3, "grid": 3},
        "object: problem noise test; array: theta0 record grid; positive: lr; limit: risk_limit;"
        " count: steps members sme_members groups threads memory; seed: seed; names: kinds;"
        " name: spacing backend dtype; path: out; flag: overwrite;"
        "function: progress",
    ),
    "order": Door(
        study.order,
        {"problem": PROBLEM, "lrs": (0.5, 0.25, 0.125), "time": 0.5, "members": 12, "sme_members": 12, "paths": 3,
         "kinds": ("gradient",), "groups": 3, "grid": 3, "backend": "numpy", "threads": 1},
        "object: problem lr noise; array: theta0 lrs grid refine; positive: time; limit: risk_limit; count: members"
        " sme_members paths groups threads steps; seed: seed; names: kinds theories; name: backend; function: progress",
        {"theories": "theor|kind"},
    ),
    "heat_map": Door(
        study.heat_map,
        {"problem": PROBLEM, "lrs": (0.5, 0.25), "keep_probs": (0.5, 0.8), "time": 0.5, "members": 12,
         "sme_members": 12, "kinds": ("gradient",), "groups": 3, "grid": 3, "backend": "numpy", "threads": 1},
        "object: problem; array: theta0 lrs keep_probs grid; positive: time; limit: risk_limit; count: members"
        " sme_members groups threads; seed: seed; names: kinds theories; name: backend; function: progress",
        {"theories": "theor|kind"},
    ),
    "scale.design": Door(
        scale.design, {"tables": SWEEP}, "object: tables; any: where", {"tables": "tables|the sweep"}
    ),
    "scale.plan": Door(scale.plan, {"design": scale.design(SWEEP)}, "object: design; count: threads"),
    "scale.read": Door(scale.read, file_of_a_sweep, "path: path", {"path": "path|sweep"}),
    "scale.sweep": Door(
        swept,
        {"design": scale.design(SWEEP), "threads": 1},
        "object: design; path: out; flag: resume; count: threads; count or 0: workers; name: scheduler; number:"
        " checkpoint_seconds; function: progress",
    ),
    "scale.load": Door(scale.load, results_of_a_sweep, "path: folder", {"folder": "folder|no sweep"}),
    "scale.table": Door(
        scale.table, lambda folder: {"found": scale.load(**results_of_a_sweep(folder))}, "object: found"
    ),
    "data.load": Door(
        data.load,
        table,
        "path: spec; names: target inputs; count: samples; flag: standardize standardize_targets header; name: missing"
        " categories",
        {"spec": "data"},
    ),
    "activations.register": Door(
        registered,
        {"name": None, "value": lambda z: z * z / 2, "slope": lambda z: z, "curvature": lambda z: 1.0},
        "path: name; function: value slope curvature third",
    ),
    "reproduce.Settings": Door(
        reproduce.Settings,
        {},
        "flag: full; count: seeds threads; path: mnist; name: backend; function: progress; any: done",
    ),
    "storage.save": Door(
        storage.save,
        lambda folder: {"data": simdrop.simulate(**TRAIN), "path": folder / "a.zarr"},
        "object: data; path: path",
        {"path": "path|results are kept"},
    ),
    "storage.load": Door(
        storage.load,
        lambda folder: {"path": storage.save(simdrop.simulate(**TRAIN), folder / "a.nc")},
        "path: path",
        {"path": "path|no results"},
    ),
    "benchmark": Door(
        benchmark,
        {"backends": ["numpy"], "repeats": 1, "seconds": 1e-4},
        "names: backends; count: threads repeats; limit: seconds; flag: full; function: progress",
    ),
    "flatness.random_directions": Door(
        flatness.random_directions, AT, "object: problem; array: theta; count: count; seed: seed; name: normalise"
    ),
    "flatness.lines": Door(
        flatness.lines, AT | {"alphas": [0.0, 1.0], "count": 2}, LANDSCAPE + "array: alphas; count: count; seed: seed"
    ),
    "flatness.plane": Door(flatness.plane, AT | {"alphas": [0.0, 1.0]}, LANDSCAPE + "array: alphas betas; seed: seed"),
    "flatness.interpolate": Door(
        flatness.interpolate,
        {"problem": PROBLEM, "first": THETA, "second": -THETA, "alphas": [0.0, 1.0]},
        "object: problem; array: first second alphas; name: objective",
    ),
    "flatness.top_eigenvalues": Door(
        flatness.top_eigenvalues, AT, LANDSCAPE.replace("directions", "") + "count: count; name: end method"
    ),
    "flatness.sharpness": Door(
        flatness.sharpness,
        AT | {"radius": 0.1, "iterations": 2, "starts": 1},
        LANDSCAPE.replace("directions", "") + "positive: radius; name: ball; count: iterations; count or 0: starts;"
        "seed: seed",
    ),
    "flatness.along": Door(flatness.along, AT, "object: problem; array: theta; name: objective; flag: top"),
    "alignment.align": Door(
        alignment.align, {"h": SQUARE, "covariance": SQUARE}, "array: h covariance; count or 0: draws; seed: seed"
    ),
    "alignment.null_sample": Door(
        alignment.null_sample,
        {"h": [1.0, 2.0], "covariance": [1.0, 2.0], "draws": 2},
        "array: h covariance; count: draws; seed: seed",
    ),
    "alignment.null_variances": Door(
        alignment.null_variances, {"covariance": [1.0, 2.0], "draws": 2}, "array: covariance; count: draws; seed: seed"
    ),
    "alignment.measure": Door(
        alignment.measure, AT, "object: problem noise; array: theta; name: objective; count or 0: draws; seed: seed"
    ),
    "alignment.along": Door(
        alignment.along, AT, "object: problem noise; array: theta; name: objective; count or 0: draws; seed: seed"
    ),
    "alignment.sampled_covariance": Door(
        alignment.sampled_covariance,
        AT | {"draws": 4, "backend": "numpy", "threads": 1},
        "object: problem noise; array: theta; count: draws threads; seed: seed; name: backend",
    ),
    "alignment.trajectory_covariance": Door(
        alignment.trajectory_covariance,
        {"runs": simdrop.simulate(**TRAIN | {"steps": 4, "record": 5, "keep_theta": True})},
        "object: runs; name: of",
    ),
    "alignment.exponent": Door(alignment.exponent, {"x": [1.0, 2, 4], "y": [1.0, 2, 5]}, "any: x y"),
    "alignment.by_direction": Door(
        alignment.by_direction,
        AT | {"covariance": SQUARE},
        "object: problem; array: theta covariance; name: axes objective; positive: factor",
    ),
    "condensation.directions": Door(condensation.directions, AT, "object: problem; array: theta"),
    "condensation.orientations": Door(condensation.orientations, AT, "object: problem; array: theta"),
    "condensation.amplitudes": Door(condensation.amplitudes, AT, "object: problem; array: theta; flag: relative"),
    "condensation.small_share": Door(condensation.small_share, AT, "object: problem; array: theta; number: below"),
    "condensation.dead_share": Door(condensation.dead_share, AT, "object: problem; array: theta"),
    "condensation.similarity": Door(condensation.similarity, AT, "object: problem; array: theta; number: threshold"),
    "condensation.clusters": Door(
        condensation.clusters, AT, "object: problem; array: theta; number: threshold; positive: diameter; flag: signed"
    ),
    "condensation.effective_ratio": Door(
        condensation.effective_ratio, AT, "object: problem; array: theta; number: cosine"
    ),
    "condensation.distances": Door(
        condensation.distances,
        AT | {"teacher": [[1.0, 2.0]]},
        "object: problem; array: theta teacher; number: threshold; flag: signed",
    ),
    "condensation.along": Door(
        condensation.along,
        AT,
        "object: problem; array: theta teacher; number: within threshold; flag: signed",
    ),
}  # fmt: skip
#: those that take a while to run with what is right
SLOW = (
    "compare",
    "order",
    "heat_map",
    "flow, mean-covariance",
    "alignment.by_direction",
    "sme",
    "benchmark",
    "scale.sweep",
)
CASES = [
    pytest.param(door, name, marks=[pytest.mark.slow] * (door in SLOW), id=f"{door}-{name}")
    for door, one in DOORS.items()
    for name in kinds_of(one.kinds)
]


@pytest.mark.parametrize("door", DOORS)
def test_the_call_works_and_every_argument_has_a_kind(
    door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = DOORS[door]
    one.function(**one.arguments(tmp_path))
    if "," not in door:
        assert set(kinds_of(one.kinds)) == set(inspect.signature(one.function).parameters)


def test_every_public_function_is_a_door() -> None:
    doors = {door.function.__name__ for door in DOORS.values()}
    for module in (simdrop, theory, study, data, scale, schedule, activations):
        for name in module.__all__:
            found = getattr(module, name)
            function = inspect.isfunction(found) or (isinstance(found, type) and issubclass(found, schedule.Schedule))
            if function and found is not schedule.Schedule and inspect.signature(found).parameters:
                assert found.__name__ in doors, f"{module.__name__}.{name}"


@pytest.mark.parametrize(("door", "argument"), CASES)
def test_what_does_not_fit_is_refused_by_name(
    door: Any, argument: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = DOORS[door]
    works = one.arguments(tmp_path)
    never = set(KINDS[kinds_of(one.kinds)[argument]])
    if inspect.signature(one.function).parameters[argument].default is None:
        never.discard("None")  # the same as left out
    wrong = []
    for name, value in NASTY.items():
        if name in ("function", "type") and argument in ("progress", "stop"):
            continue  # what it raises when it is called is its own
        if (door, argument, name) == ("benchmark", "seconds", "1.5"):
            continue  # is right, and measures for half a minute
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                one.function(**works | {argument: value})
            except InvalidInput as error:
                if "\n" in str(error) or not names(one, argument, str(error)):
                    wrong.append(f"{name}: {error}")
            except (Diverged, FlowFailed, BackendError) as error:
                if name in never:
                    wrong.append(f"{name}: {type(error).__name__}")
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")
            else:
                if name in never:
                    wrong.append(f"{name} is taken")
    assert not wrong, "\n".join(wrong)


def names(door: Door, argument: str, message: str) -> bool:
    """Whether a message names the argument, or another that does not go with it."""
    words = [*door.words.get(argument, argument).split("|"), argument.rstrip("s")]
    return any(word in message for word in words)
