"""`noises`: dropout against minibatch, label and parameter noise of the same total variance, on one problem.

Beyond the papers. The trace of Σ depends on where it is taken, so all noises are compared on one path: Tr Σ is averaged
over evenly spaced points of the runs with dropout, for every noise at those very parameters, and each noise is made as
strong as dropout's is there. Minibatches are of whole samples: the size that comes nearest, drawn with replacement.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ...data import TARGETS
from ...problem import Noise, Problem
from ...study.landscape import condensation
from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.dropout_pair import Array, finite, ratio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEEP_PROB, POINTS = 0.9, 21
SIZES: dict[bool, dict[str, Any]] = {
    False: {"width": 100, "lr": 0.01, "steps": 200_000},
    True: {"width": 1000, "lr": 0.003, "steps": 600_000},
}
#: arm -> colour and line style; "drift" is dropout's mean step alone, without any noise
LOOKS = {
    "dropout": ("#0072B2", "-"),
    "drift": ("#56B4E9", "--"),
    "minibatch": ("#E69F00", "-"),
    "label": ("#009E73", "-"),
    "parameter": ("#CC79A7", "-"),
    "none": ("#222222", ":"),
}
TITLES = {
    "dropout": "dropout", "drift": "R_S + R_1, no noise", "minibatch": "minibatches", "label": "label noise",
    "parameter": "parameter noise", "none": "no noise",
}  # fmt: skip
OTHERS = ("minibatch", "label", "parameter")
#: what is compared -> how the table calls it
MEASURES = {
    "trace": "Tr H of R_S",
    "error": "rms error between the points",
    "groups": "orientations holding 95 % of the amplitude",
}


def run(settings: Settings) -> Outcome:
    """Train all arms from the same starts; measure curvature, test error and orientations on the way and at the end."""
    import xarray as xr

    target, seeds, size = TARGETS["relu-fit"], settings.seeds or 5, SIZES[settings.full]
    problem = Problem(
        target.points, target.function(target.points), width=size["width"], keep_prob=KEEP_PROB, activation="relu"
    )
    plain = replace(problem, keep_prob=1.0)
    paths = {"dropout": _train(problem, settings, seeds, "dropout", **size)}
    noises, traces = matched(problem, paths["dropout"])
    paths["drift"] = _train(problem, settings, seeds, "drift", objective="risk+r1", **size)
    for name in (*OTHERS, "none"):
        paths[name] = _train(plain, settings, seeds, name, noise=noises.get(name), **size)
    paths = {name: paths[name] for name in LOOKS}
    settings.progress("orientations", 0, 1)
    axes = ("arm", "point", "seed")
    data = xr.Dataset(
        {
            "trace": (axes, [theory.hessian_trace(problem, p, objective="risk") for p in paths.values()]),
            "error": (axes, [_error(problem, p) for p in paths.values()]),
            "risk": (axes, [theory.risk(problem, p) for p in paths.values()]),
            "groups": (("arm", "seed"), [_groups(problem, p[-1]) for p in paths.values()]),
            "noise": (("noisy", "seed"), [traces[name] for name in ("dropout", *OTHERS)]),
        },
        {
            "arm": list(LOOKS), "noisy": ["dropout", *OTHERS],
            "step": ("point", np.linspace(0, size["steps"], POINTS).astype(int)),
        },
        {"keep_prob": KEEP_PROB, "activation": "relu", "mask": "step", "seeds": seeds, **size},
    )  # fmt: skip
    settings.progress("orientations", 1, 1)
    return Outcome(rows=_rows(data), data=data, notes=_notes(data, noises))


def matched(problem: Problem, path: Array) -> tuple[dict[str, Noise], dict[str, Array]]:
    """The noises as strong as dropout on its path (T, seeds, P), and Tr Σ (seeds,) of each averaged over that path.

    The start, whose Tr Σ is that of no trained network, is left out.
    """
    plain = replace(problem, keep_prob=1.0)
    wanted = _traces(problem, path, Noise())
    unit = {name: _traces(plain, path, noise) for name, noise in _units().items()}
    mean = {name: wanted.mean() / values.mean() for name, values in unit.items()}
    sizes = np.arange(1, problem.n_samples + 1)
    batch = int(sizes[np.argmin(np.abs(np.log(1 / (sizes * mean["minibatch"]))))])  # Tr Σ ∝ 1 / B with replacement
    noises = {
        "minibatch": Noise(batch_size=batch, replace=True),
        "label": Noise(label=float(np.sqrt(mean["label"]))),
        "parameter": Noise(parameter=float(np.sqrt(mean["parameter"]))),
    }
    found = {name: _traces(plain, path, noise) for name, noise in noises.items()}
    return noises, {"dropout": wanted, **found}


def _units() -> dict[str, Noise]:
    return {
        "minibatch": Noise(batch_size=1, replace=True),
        "label": Noise(label=1.0),
        "parameter": Noise(parameter=1.0),
    }


def _traces(problem: Problem, path: Array, noise: Noise) -> Array:
    """Tr Σ (seeds,), averaged over a path (T, seeds, P) but for its start."""
    found = [[theory.StepNoise.at(problem, one, noise).trace() for one in row] for row in path[1:]]
    return np.mean(found, axis=0)


def _train(
    problem: Problem, settings: Settings, seeds: int, name: str, *, width: int, steps: int, lr: float, **known: Any
) -> Array:
    """The parameters (T, seeds, P) of one arm along training by SGD."""
    runs = settings.train(
        f"train: {TITLES[name]}", problem, problem.init(members=seeds, gamma=0.2), lr=lr, steps=steps, record=POINTS,
        keep_theta=True, dtype="float32", **known,
    )  # fmt: skip
    return finite(runs["theta"].values, TITLES[name])


def _error(problem: Problem, theta: Array) -> Array:
    """Root mean square distance (...) of the outputs from the target, over the interval of the points."""
    target = TARGETS["relu-fit"]
    x = np.linspace(target.points[0], target.points[-1], 401)
    return np.sqrt(np.square(problem.predict(theta, x)[..., 0] - target.function(x)).mean(axis=-1))


def _groups(problem: Problem, theta: Array) -> Array:
    """How many orientations (seeds,) hold 95 % of the amplitude."""
    return np.array([condensation.clusters(problem, one).holding(0.95) for one in theta], dtype=np.float64)


def _rows(data: Any) -> list[Row]:
    """Every measure at the end of every arm, and dropout against each of the other noises."""
    end = data.isel(point=-1)
    rows = [
        Row.over_seeds(f"Tr Σ on dropout's path, {TITLES[str(name)]}", data["noise"].sel(noisy=name).values)
        for name in data["noisy"].values
    ]
    for name, title in MEASURES.items():
        values = {arm: end[name].sel(arm=arm).values for arm in LOOKS}
        rows += [Row.over_seeds(f"{title}, {TITLES[arm]}", one) for arm, one in values.items()]
        rows += [ratio(f"{title}, dropout / {TITLES[arm]}", values["dropout"], values[arm]) for arm in OTHERS]
    return rows + [Row.over_seeds(f"R_S at the end, {TITLES[arm]}", end["risk"].sel(arm=arm).values) for arm in LOOKS]


def _notes(data: Any, noises: dict[str, Noise]) -> list[str]:
    size, noise = data.attrs, data["noise"]
    share = float(noise.sel(noisy="minibatch").mean() / noise.sel(noisy="dropout").mean())
    return [
        f"6 points of the relu-fit target, relu, width {size['width']}, p = {KEEP_PROB:g}, one mask a step, SGD at"
        f" {size['lr']:g} for {size['steps']} steps, weights N(0, m^-0.2) read as a variance.",
        f"Equal noise: Tr Σ averaged over {POINTS - 1} evenly spaced points of dropout's path, the start left out."
        f" Label noise of {noises['label'].label:.3g} and parameter noise of {noises['parameter'].parameter:.3g}"
        " (standard deviations) have as much there as dropout.",
        f"Minibatches of {noises['minibatch'].batch_size}, with replacement, come nearest: {share:.2f} of dropout's"
        " Tr Σ there. On their own path their noise goes to 0 with the residuals.",
        "R_S + R_1 without any noise stands next to dropout to separate its mean step from its noise.",
    ]


def draw(outcome: Outcome) -> Figure:
    """Tr H and test error along training, and the orientations at the end."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import STYLE

    data, names = outcome.data, {arm: TITLES[arm].replace("R_S + R_1", "$R_S+R_1$") for arm in LOOKS}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 3.9), layout="constrained")
        first, second, third = figure.subplots(1, 3)
        for arm, (color, line) in LOOKS.items():
            for axis, name in ((first, "trace"), (second, "error")):
                values = data[name].sel(arm=arm).transpose("point", "seed").values[1:]
                mean, error = values.mean(axis=1), values.std(axis=1) / np.sqrt(max(values.shape[1] - 1, 1))
                steps = data["step"].values[1:]
                axis.fill_between(steps, mean - error, mean + error, color=color, alpha=0.2, lw=0)
                axis.plot(steps, mean, color=color, ls=line, lw=1.6, label=names[arm])
        first.set(ylim=(0, None), xlabel="step", ylabel=r"Tr $H$ of $R_S$", title="Curvature")
        second.set(yscale="log", xlabel="step", ylabel="rms error between the points", title="Test error")
        for row, arm in enumerate(LOOKS):
            values = data["groups"].sel(arm=arm).values
            third.barh(row, values.mean(), color=LOOKS[arm][0], alpha=0.75)
            third.plot(values, np.full(values.shape, row), ".", color="#222222", ms=4)
        third.set_yticks(range(len(LOOKS)), list(names.values()))
        third.invert_yaxis()
        third.set(xlabel="orientations that hold 95 % of the amplitude", title="Condensation (dots: seeds)")
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


EXPERIMENT = Experiment(
    name="noises",
    source="beyond the papers",
    place=(3, 3),
    shows="dropout against minibatch, label and parameter noise at equal Tr Σ: only dropout condenses",
    minutes=0.5,
    full_minutes=10.0,
    run=run,
    draw=draw,
)
