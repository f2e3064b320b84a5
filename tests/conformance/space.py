"""The space of what `simdrop.simulate` takes, and samples of it.

A configuration is one level of every axis. Two samples: `covering`, in which every allowed pair of levels of two axes
occurs, and `random`. `call` turns a configuration into a problem and the arguments of `simulate`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from conformance import pairwise
from conformance.pairwise import Configuration

import simdrop
from simdrop.checks.numbers import MIN_KEEP_PROB
from simdrop_kernels import native
from simdrop_kernels.contract.network import MASKS, TRAINS, Network
from simdrop_kernels.contract.noise import Noise
from simdrop_kernels.contract.objectives import COMPILED, OBJECTIVES
from simdrop_kernels.contract.step import Step
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS
from simdrop_kernels.mathematics.losses.table import LOSSES, find
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS as KINDS

STEPS, MEMBERS = 6, 5

#: axis -> levels of it
Levels = dict[str, tuple[Any, ...]]

#: name of a noise -> the fields of `simdrop.Noise`; minibatches have an axis of their own
NOISES: dict[str, dict[str, Any]] = {
    "none": {},
    "masks": {"masks": 3},
    "gaussian": {"law": "gaussian"},
    "label": {"label": 0.3},
    "parameter": {"parameter": 0.2},
    "connect": {"connect": 0.7},
    "drift": {"part": "drift"},
    "deviation": {"part": "noise"},
    "forward": {"place": "forward", "masks": 2},
    "update": {"place": "update"},
    "independent": {"place": "independent", "law": "gaussian"},
    "several": {"masks": 2, "law": "gaussian", "label": 0.3, "parameter": 0.2, "part": "noise"},
    "connected": {"connect": 0.6, "part": "noise", "label": 0.1, "masks": 2},
}


def mean_weights(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
    """Mean output weights (B, c) of members: a function of the user's."""
    return problem.split(theta)[0].mean(axis=-1)


#: name of a recording -> the arguments of `simulate`; members and parameters are numbered from 0
RECORDINGS: dict[str, dict[str, Any]] = {
    "all": {"record": STEPS + 1, "keep_theta": True},
    "few": {"record": [3], "keep_theta": True, "quantiles": (), "norms": True},
    "log": {"record": 3, "spacing": "log", "keep_theta": [4, 1], "groups": 2, "norms": True},
    "grid": {"record": np.array([2, 4]), "keep_theta": True, "grid": True, "quantiles": (0.0, 0.5), "groups": 5},
    "covariance": {"record": 2, "keep_theta": True, "covariance": True},
    "some": {"record": 2, "keep_theta": [0], "covariance": [0, 1], "grid": True, "groups": 2},
    "watched": {"record": 2, "keep_theta": True, "keep_risk": False, "test": True, "observe": {"mean": mean_weights}},
}

OPTIMIZERS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "sgd": ("sgd", None),
    "momentum": ("momentum", None),
    "heavy": ("momentum", {"momentum": 0.5}),
    "nesterov": ("nesterov", {"momentum": 0.6}),
    "adam": ("adam", None),
    "adam-slow": ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.01}),
    "adamw": ("adam", {"epsilon": 0.01, "decoupled": True}),
}

#: those of which the sample for few kernels has all pairs: kernels with weight decay and Nesterov's are further ones
PLAIN = tuple(name for name in OPTIMIZERS if name not in ("nesterov", "adamw"))

#: name of a minibatch -> samples of it, for n samples, and whether they are drawn with replacement
BATCHES: dict[str, Any] = {
    "whole": lambda n: (None, False),
    "one": lambda n: (1, False),
    "half": lambda n: ((n + 1) // 2, False),
    "replaced": lambda n: ((n + 1) // 2, True),
    "twice": lambda n: (2 * n, True),
    "epochs": lambda n: (3 if n % 3 == 0 else 1, False),
}

BLOCKS: dict[str, dict[str, Any]] = {
    "default": {},
    "single": {"block_size": 1, "threads": 1},
    "pairs": {"block_size": 2, "threads": 3},
    "threads": {"threads": 2 * MEMBERS},
    "memory": {"memory": 1 << 20},
}


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _frame(array: np.ndarray) -> Any:
    import pandas as pd

    return pd.DataFrame(array, columns=[f"column {k}" for k in range(array.shape[1])])


#: how a user may have a two-dimensional array; the numbers stay the same
FORMS: dict[str, Any] = {
    "array": np.array,
    "list": np.ndarray.tolist,
    "read-only": _read_only,
    "fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda array: array[::-1].copy()[::-1],
    "float32": lambda array: array.astype(np.float32),
    "integer": lambda array: array.astype(np.int16),
    "pandas": _frame,
    "xarray": lambda array: xr.DataArray(array, dims=("sample", "column")),
}


#: axis -> its levels
AXES: dict[str, Sequence[Any]] = {
    "activation": tuple(ACTIVATIONS),
    "objective": (*OBJECTIVES, "L1", "risk, then dropout"),
    "noise": tuple(NOISES),
    "inputs": (1, 2, 5, 64),
    "outputs": (1, 2, 3, 17),
    "samples": (1, 2, 7, 33),
    "width": (1, 3, 16, 65, 150),
    "keep_prob": (0.9, 0.5, 1.0, MIN_KEEP_PROB, "members"),
    "optimizer": tuple(OPTIMIZERS),
    "batch": tuple(BATCHES),
    "form": tuple(FORMS),
    "recording": tuple(RECORDINGS),
    "blocks": tuple(BLOCKS),
    "output_scale": (1.0, "1/sqrt(m)", "1/m", 0.3),
    "seed": (0, 2**40 + 17, "members"),
    "train": TRAINS,
    "mask": MASKS,
    "bias": (True, False),
    "dtype": ("float64", "float32"),
    "lr": ("number", "members", "pieces", "cosine"),
    "weight_decay": (0.0, 0.1),
    "theta0": ("shared", "members"),
    "svag": (None, 3),
    "loss": tuple(LOSSES),
}

_OBJECTIVES = (*COMPILED, "L1", "risk, then dropout")


def _in_c(noise: dict[str, Any]) -> bool:
    """Whether "native" has a noise."""
    return "connect" not in noise and noise.get("place", "update") == "update"


#: backend -> the levels that it takes, on the axes on which it does not take all
TAKEN: dict[str, dict[str, Sequence[Any]]] = {
    "numpy": {},
    "numba": {"objective": _OBJECTIVES},
    "native": {"objective": _OBJECTIVES, "noise": tuple(name for name in NOISES if _in_c(NOISES[name]))},
    "cuda": {
        "objective": _OBJECTIVES, "noise": ("none",), "train": ("both",), "svag": (None,),
        "batch": tuple(name for name in BATCHES if name != "epochs"),
    },
}  # fmt: skip


def allowed(chosen: Configuration) -> bool:
    """Whether `simulate` allows these levels beside each other; axes may be missing."""
    objective, noise = chosen.get("objective", "dropout"), chosen.get("noise", "none")
    if objective != "dropout" and (noise != "none" or chosen.get("svag")):
        return False
    if objective == "risk+r1+r2" and chosen.get("batch", "whole") != "whole":
        return False
    if not _fits_loss(chosen):
        return False
    alone = chosen.get("batch") == "epochs" and (chosen.get("samples") == 1 or chosen.get("svag"))
    if alone or (chosen.get("optimizer") == "adamw" and chosen.get("weight_decay") == 0):
        return False
    if chosen.get("svag") and (chosen.get("optimizer", "sgd") != "sgd" or noise == "drift"):
        return False
    return not (noise == "connected" and chosen.get("inputs", 1) > 5)  # a sum over all masks of a neuron's inputs


def _fits_loss(chosen: Configuration) -> bool:
    """Whether objective, noise and outputs are such as the loss takes; axes may be missing."""
    kind = find(chosen.get("loss", "squared")).targets
    if kind == "numbers":
        return True
    if chosen.get("objective", "dropout") not in ("dropout", "risk", "risk, then dropout"):
        return False
    if any(name in NOISES[chosen.get("noise", "none")] for name in ("label", "part")):
        return False
    return "outputs" not in chosen or (chosen["outputs"] == 1) == (kind == "binary")


def taken(backend: str, chosen: Configuration) -> bool:
    """Whether a backend takes these levels of TAKEN beside each other; axes may be missing.

    "native" says it itself, so that the sample has all that it comes to run; "numba" takes whatever "numpy" does.
    """
    if backend == "native" and not _in_native(tuple((name, chosen[name]) for name in _OF_STEP if name in chosen)):
        return False
    return allowed(chosen)


#: axes that are parts of a step
_OF_STEP = (
    "activation", "mask", "train", "loss", "weight_decay", "objective", "noise", "batch", "optimizer", "svag", "lr",
    "dtype",
)  # fmt: skip


@functools.cache
def _in_native(chosen: tuple[tuple[str, Any], ...]) -> bool:
    """Whether "native" runs steps with these levels, and with the first ones on the other axes."""
    return not any(native.refuses(step, dtype) for step, dtype in steps_of(dict(chosen)))


def steps_of(chosen: Configuration) -> list[tuple[Step, np.dtype]]:
    """What a backend is asked to run, objective by objective; axes may be missing, whose first levels are taken."""
    level = {name: AXES[name][0] for name in _OF_STEP} | {name: chosen[name] for name in _OF_STEP if name in chosen}
    if level["optimizer"] == "adamw":  # which needs some
        level["weight_decay"] = AXES["weight_decay"][-1]
    kind, options = OPTIMIZERS[level["optimizer"]]
    batch, replace = BATCHES[level["batch"]](12)
    network = Network(**{name: level[name] for name in ("activation", "mask", "train", "loss", "weight_decay")})
    order: Any = "epochs" if level["batch"] == "epochs" else "independent"
    noise = Noise(**NOISES[level["noise"]], batch_size=batch, replace=replace, order=order)
    several: dict[str, tuple[Any, ...]] = {"L1": ("risk+r1",), "risk, then dropout": ("risk", "dropout")}
    return [
        (
            Step(
                network=network, noise=noise, optimizer=KINDS[kind](**options or {}), objective=objective,
                svag=level["svag"] or 0, scheduled=level["lr"] in ("pieces", "cosine"),
            ),
            np.dtype(level["dtype"]),
        )
        for objective in several.get(level["objective"], (level["objective"],))
    ]  # fmt: skip


class Kernel(NamedTuple):
    """What Numba compiles a kernel of its own for; `kind`: one-dimensional, or parallel over members or over tiles."""

    kind: Literal["thin", "members", "tiles"]
    activation: str
    objectives: str
    mask: str
    optimizer: str
    batches: Literal["whole", "minibatch"]
    dtype: str


#: kernels of which every pair of the values that they are compiled for occurs in one. The first ones are compiled for
#: other tests anyway; a row with risk and dropout is two kernels, for an objective that changes from one to the other
KERNELS = [
    Kernel(*row.split())
    for row in """
    thin tanh risk,dropout step sgd whole float64
    thin tanh risk,dropout sample adam minibatch float64
    thin tanh dropout step adam whole float64
    thin tanh dropout step sgd whole float32
    thin gelu dropout step sgd whole float64
    thin gelu risk+r1 step momentum whole float64
    members tanh risk,dropout step sgd whole float64
    members tanh risk,dropout sample adam whole float64
    members tanh dropout sample sgd whole float64
    members tanh dropout sample sgd whole float32
    members gelu dropout step sgd whole float64
    tiles tanh dropout step sgd whole float64
    tiles tanh risk,dropout step sgd whole float64
    tiles tanh risk+r1 step adam whole float64
    tiles gelu risk sample momentum whole float32
    members tanh risk+r1 sample momentum whole float64
    thin tanh dropout sample sgd whole float64
    thin tanh risk+r1 step sgd minibatch float64
    thin gelu risk+r1 step adam minibatch float32
    thin gelu risk,dropout step momentum minibatch float32
    """.strip().splitlines()
]

#: inputs, bias and outputs of problems for the two kinds of kernels
_SHAPES: dict[bool, list[Levels]] = {
    True: [{"inputs": (1,), "outputs": (1,)}, {"inputs": (2,), "bias": (False,), "outputs": (1,)}],
    False: [{"inputs": (5, 64)}, {"inputs": (2,), "bias": (True,)}, {"outputs": (2, 3, 17)}],
}


def _noisy() -> Iterator[Levels]:
    """Levels for steps with more noise than masks and minibatches, or some frozen weights: one kernel a precision."""
    one: Levels = {"activation": ("tanh",), "optimizer": ("sgd",), "weight_decay": (0.0,), "loss": ("squared",)}
    yield one | {"objective": ("dropout",), "noise": tuple(name for name in NOISES if name != "none")}
    yield one | {"objective": ("dropout",), "svag": (3,)}
    yield one | {"train": tuple(name for name in TRAINS if name != "both")}


def _trained_by(kernel: Kernel) -> Iterator[Levels]:
    """The levels that a kernel trains, on the axes on which it does not train all; each time for some of its shapes."""
    objectives = set(kernel.objectives.split(",")) | ({"L1"} if kernel.objectives == "risk+r1" else set())
    if kernel.objectives == "risk,dropout":
        objectives.add("risk, then dropout")
    thin, tiles = kernel.kind == "thin", ("pairs", "threads")
    for shape in _SHAPES[thin]:
        levels: Levels = {
            "activation": (kernel.activation,), "loss": ("squared",), "mask": (kernel.mask,), "dtype": (kernel.dtype,),
            "objective": tuple(objectives), "noise": ("none",), "svag": (None,), "train": ("both",),
            "optimizer": tuple(name for name in PLAIN if OPTIMIZERS[name][0] == kernel.optimizer),
            "weight_decay": (0.0,),
        }  # fmt: skip
        if thin:
            levels["batch"] = tuple(name for name in BATCHES if (name == "whole") == (kernel.batches == "whole"))
        else:
            levels["blocks"] = tuple(name for name in BLOCKS if (name in tiles) == (kernel.kind == "tiles"))
        yield levels | shape


def _losses() -> Iterator[Levels]:
    """Levels for losses with classes, whose tests compile these kernels too: one for one output, one for several."""
    one: Levels = {
        "activation": ("tanh",), "mask": ("step",), "dtype": ("float64",), "objective": ("dropout",),
        "noise": ("none",), "svag": (None,), "train": ("both",), "optimizer": ("sgd",), "weight_decay": (0.0,),
    }  # fmt: skip
    yield one | {"loss": ("logistic",), "inputs": (1,), "outputs": (1,), "batch": ("whole",)}
    tiles = ("pairs", "threads")
    yield one | {"loss": ("softmax",), "outputs": (2, 3, 17), "blocks": tuple(k for k in BLOCKS if k not in tiles)}


_FEW: list[Levels] = [
    *_noisy(), *(levels for kernel in KERNELS for levels in _trained_by(kernel)), *_losses(),
]  # fmt: skip
_DECISIVE = {name for levels in _FEW for name in levels}


def few_kernels(chosen: Configuration) -> bool:
    """Whether these levels belong to a sample that needs few kernels: KERNELS, and for noise one a precision.

    Axes may be missing: others are then such that a kernel is left. Numba compiles 10 to 25 s for each, a minute for
    noise.
    """
    return _fits_one(tuple((name, level) for name, level in chosen.items() if name in _DECISIVE))


@functools.cache
def _fits_one(chosen: tuple[tuple[str, Any], ...]) -> bool:
    return any(all(level in levels.get(name, (level,)) for name, level in chosen) for levels in _FEW)


def by_kernel(chosen: Configuration) -> tuple[int, str, str]:
    """Orders configurations such that those which one kernel trains come one after the other."""
    places = [k for k, levels in enumerate(_FEW) if all(chosen[name] in found for name, found in levels.items())]
    return max(places[0] - 2, 0), chosen["dtype"], repr(chosen["objective"])


@functools.cache
def covering(backend: str = "numpy", also: pairwise.Allowed | None = None) -> list[Configuration]:
    """Configurations that a backend takes, and that `also` allows, among which every allowed pair of levels occurs."""
    return pairwise.covering(
        {**AXES, **TAKEN[backend]}, lambda levels: taken(backend, levels) and (also is None or also(levels))
    )


def random(backend: str, count: int, seed: int, also: pairwise.Allowed | None = None) -> Iterator[Configuration]:
    """`count` configurations that a backend takes, and that `also` allows, each level drawn among those that fit."""
    drawing, axes = np.random.default_rng(seed), {**AXES, **TAKEN[backend]}

    def fits(levels: Configuration) -> bool:
        return taken(backend, levels) and (also is None or also(levels))

    for _ in range(count):
        yield {name: axes[name][k] for name, k in pairwise.drawn(axes, fits, drawing, {}).items()}


def call(chosen: Configuration) -> tuple[simdrop.Problem, dict[str, Any]]:
    """The problem of a configuration, and the arguments of `simulate` after it but for the backend."""
    drawing = np.random.default_rng(pairwise.number(chosen))
    form = FORMS[chosen["form"]]
    n, d, c = chosen["samples"], chosen["inputs"], chosen["outputs"]
    if chosen["form"] == "integer":
        x, y = drawing.integers(-2, 3, (n, d)).astype(float), drawing.integers(-2, 3, (n, c)).astype(float)
    else:  # numbers that float32 holds
        x, y = (drawing.standard_normal((n, k)).astype(np.float32).astype(float) for k in (d, c))
    if chosen["loss"] != "squared":
        classes = drawing.integers(0, max(c, 2), n)
        y = np.eye(c)[classes] if c > 1 else np.maximum(classes, np.arange(n) == 0)[:, None].astype(float)
    keep = np.linspace(0.4, 1, MEMBERS) if chosen["keep_prob"] == "members" else np.float64(chosen["keep_prob"])
    problem = simdrop.Problem(
        form(x), form(y), width=chosen["width"], bias=chosen["bias"],
        keep_prob=0.8 if keep.ndim else float(keep), activation=chosen["activation"], mask=chosen["mask"],
        output_scale=chosen["output_scale"], train=chosen["train"], loss=chosen["loss"],
        weight_decay=chosen["weight_decay"],
    )  # fmt: skip
    members = MEMBERS if chosen["theta0"] == "members" else None
    theta0 = problem.init(seed=1, scale=1 / np.sqrt(d + c * problem.width), members=members)
    rate = _stable_rate(chosen, float(keep.min()), problem)
    optimizer, options = OPTIMIZERS[chosen["optimizer"]]
    batch, replace = BATCHES[chosen["batch"]](n)
    recording = dict(RECORDINGS[chosen["recording"]])
    if recording.get("grid"):
        recording["grid"] = form(x[: min(n, 3)])
    if recording.get("test"):
        recording["test"] = form(x[: min(n, 3)]), form(y[: min(n, 3)])
    objective = {0: "risk", 2: "dropout"} if chosen["objective"] == "risk, then dropout" else chosen["objective"]
    return problem, {
        "theta0": theta0,
        "lr": _rates(chosen["lr"], rate),
        "steps": STEPS,
        "members": MEMBERS,
        "seed": np.arange(MEMBERS) * 7 if chosen["seed"] == "members" else chosen["seed"],
        "objective": objective,
        "penalty": 0.01 if objective == "dropout+r2" else None,
        "optimizer": optimizer,
        "optimizer_options": options,
        "batch_size": batch,
        "replace": replace,
        "noise": simdrop.Noise(
            **NOISES[chosen["noise"]], order="epochs" if chosen["batch"] == "epochs" else "independent"
        ),
        "svag": chosen["svag"],
        "keep_prob": keep if keep.ndim else None,
        "dtype": chosen["dtype"],
        **recording,
        **BLOCKS[chosen["blocks"]],
    }


def _rates(name: str, rate: float) -> Any:
    """The learning rates that a level stands for, `rate` at most."""
    several = rate * np.linspace(0.5, 1, MEMBERS)
    if name == "pieces":
        return {0: several, 3: rate / 2}
    return {"members": several, "cosine": simdrop.schedule.cosine(rate, steps=2 * STEPS)}.get(name, rate)


def _stable_rate(chosen: Configuration, keep: float, problem: simdrop.Problem) -> float:
    """A learning rate at which rounding does not grow, for all masks: below the inverse of the sharpest curvature.

    That of weight decay counts too: with outputs of 1/m the rates are large. Adam's steps have the size of the rate
    itself. Curvature is that of f² in a and w, s² (|h|² + |a|² |x|²), times 1/p² under a mask that keeps.
    """
    if chosen["optimizer"].startswith("adam"):
        return 0.02
    under_risk = chosen["objective"] == "risk"
    factor = 1.0 if under_risk else keep**-2
    inputs = np.square(problem.inputs).sum(axis=1).mean()
    return float(0.02 / max(problem.scale**2 * factor * (1 + inputs), chosen["weight_decay"]))
