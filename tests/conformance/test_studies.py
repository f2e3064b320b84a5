"""`compare`, `order` and `sweep` on the command line over small spaces of settings, against the Python functions."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import pairwise
from conformance.pairwise import Configuration
from numpy.typing import NDArray
from oracles.summary_schema import read_valid

import simdrop
from simdrop import cli, scale
from simdrop.output.storage import load, write_json
from simdrop.study.predictions import ANYWHERE, FLOWS, PREDICTIONS
from simdrop_kernels.contract.network import MASKS, TRAINS
from simdrop_kernels.contract.noise import PLACES
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

#: how near a sweep comes to `compare`: it trains several points in one ensemble, which sums members in another order
CLOSE = {"float64": {"rtol": 1e-9, "atol": 1e-9}, "float32": {"rtol": 1e-4, "atol": 1e-5}}
#: how many configurations of a sample the fast tier tries
FEW = 3

#: settings of a network and its start, on the command line and in Python alike
NETWORK: dict[str, Sequence[Any]] = {
    "activation": ("tanh", "relu", "gelu", "quadratic"),
    "mask": MASKS,
    "keep_prob": (0.5, 0.9, 1.0),
    "width": (3, 1),
    "bias": (True, False),
    "train": TRAINS,
    "output_scale": ("1/sqrt(m)", 0.5, "1/m"),
    "init_seed": (0, 2**40 + 17),
    "init_scale": (1.0, 0.3),
    "data": ("csv", "npz", "two targets", "two inputs"),
    "how": ("flags", "set", "file"),  # settings are given
}

COMPARE: dict[str, Sequence[Any]] = NETWORK | {
    "kinds": ((), ("averaged",), ("averaged", "mean-covariance")),
    "record": (4, 12),
    "spacing": ("even", "log"),
    "groups": (None, 3),
    "members": (8, 4),
    "dtype": ("float64", "float32"),
    "seed": (0, 2**64 - 1),
    "lr": (0.02, 0.1),
    "place": PLACES,
}

ORDER: dict[str, Sequence[Any]] = {
    "activation": ("tanh", "gelu"),
    "mask": MASKS,
    "keep_prob": (0.7, 1.0),
    "bias": (True, False),
    "data": ("csv", "two targets"),
    "how": ("flags", "file"),
    "kinds": (("gradient", "averaged"), tuple(name for name in ANYWHERE if not name.startswith("sme"))),
    "groups": (3, 6),
    "seed": (0, 2**40 + 17),
}

SWEEP: dict[str, Sequence[Any]] = {
    "activation": tuple(ACTIVATIONS)[:4],
    "mask": MASKS,
    "train": TRAINS,
    "data": ("csv", "two targets", "two inputs"),
    "design": ("grid", "list"),
    "over": ("lr", "keep_prob", "width", "init_seed"),
    "kinds": (("gradient",), ("averaged", "modified")),
    "place": PLACES,
    "keep": ((), ("theta_mean", "norm")),
    "dtype": ("float64", "float32"),
    "members": (6, 4),
}

OVER: dict[str, list[Any]] = {
    "lr": [0.02, 0.1], "keep_prob": [0.5, 0.9], "width": [1, 3], "init_seed": [0, 2**40 + 17],
}  # fmt: skip


@functools.cache
def _covering(command: str) -> list[Configuration]:
    axes = {"compare": COMPARE, "order": ORDER, "sweep": SWEEP}[command]
    return pairwise.covering(axes, lambda chosen: True)


def _sample(command: str) -> list[Any]:
    """The covering sample: a few in the fast tier, the others in the slow one."""
    return [
        pytest.param(chosen, id=str(k), marks=[] if k < FEW else pytest.mark.slow)
        for k, chosen in enumerate(_covering(command))
    ]


def _data(kind: str, folder: Path) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any]]:
    """Settings that name a file of data, and its x and y."""
    drawing = np.random.default_rng(len(kind))
    x, y = (
        drawing.standard_normal((6, 1 + (kind == "two inputs"))),
        drawing.standard_normal((6, 1 + (kind == "two targets"))),
    )
    if kind == "npz":
        np.savez(folder / "data.npz", x=x, y=y)
        return {"data": str(folder / "data.npz")}, x, y
    names = [f"x{k}" for k in range(x.shape[1])], [f"y{k}" for k in range(y.shape[1])]
    rows = [",".join([*names[0], *names[1]]), *(",".join(map(repr, row)) for row in np.hstack([x, y]).tolist())]
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    return {"data": str(folder / "data.csv"), "target": tuple(names[1])}, x, y


def _arguments(settings: dict[str, Any], how: str, folder: Path) -> list[str]:
    """The arguments of the command line that give these settings."""
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    told = {name: value for name, value in told.items() if value not in (None, [])}
    toml = {name: json.dumps(value) for name, value in told.items()}
    if how == "file":
        (folder / "settings.toml").write_text("".join(f"{name} = {value}\n" for name, value in toml.items()))
        return ["--config", str(folder / "settings.toml")]
    if how == "set":
        plain = toml | {name: value for name, value in told.items() if isinstance(value, str)}  # text without quotes
        return [word for name, value in plain.items() for word in ("--set", f"{name}={value}")]
    words = []
    for name, value in told.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [word for one in (value if isinstance(value, list) else [value]) for word in (flag, str(one))]
    return words


def _problem(chosen: Configuration, x: NDArray[Any], y: NDArray[Any], **more: Any) -> simdrop.Problem:
    names = ("activation", "mask", "keep_prob", "width", "bias", "train", "output_scale")
    return simdrop.Problem(x, y, **{name: chosen[name] for name in names if name in chosen} | more)


def _plain(summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A summary as its file has it."""
    write_json(summary, folder / "plain.json")
    plain: dict[str, Any] = json.loads((folder / "plain.json").read_text())
    return plain


def _numbers(found: Any) -> Iterator[float]:
    """All numbers within plain values."""
    if isinstance(found, dict | list):
        for value in found.values() if isinstance(found, dict) else found:
            yield from _numbers(value)
    elif isinstance(found, int | float):
        yield found


@pytest.mark.parametrize("chosen", _sample("compare"))
def test_compare(chosen: Configuration, tmp_path: Path) -> None:
    data, x, y = _data(chosen["data"], tmp_path)
    settings = {name: chosen[name] for name in COMPARE if name not in ("data", "how")}
    arguments = _arguments(settings | data | {"steps": 12, "backend": "numpy"}, chosen["how"], tmp_path)
    assert cli.run(["compare", *arguments, "--quiet", "--out", str(tmp_path / "out")]) == 0
    told = read_valid(tmp_path / "out" / "summary.json", "compare")

    problem = _problem(chosen, x, y)
    names = ("lr", "members", "seed", "record", "spacing", "groups", "dtype")
    found = simdrop.compare(
        problem, problem.init(seed=chosen["init_seed"], scale=chosen["init_scale"]), steps=12, backend="numpy",
        kinds=chosen["kinds"] or FLOWS, noise=simdrop.Noise(place=chosen["place"]),
        **{name: chosen[name] for name in names},
    )  # fmt: skip
    expected = _plain(found.summary, tmp_path)
    for part in (
        "problem",
        "simulation",
        "noise",
        "time",
        "groups",
        "grid_points",
        "quantities",
        "sizes",
        "diverged",
        "verdict",
    ):
        assert told[part] == expected[part], part
    for quantity in told["quantities"].values():
        for flow in quantity["flows"].values():
            for span in flow.values():
                assert math.isfinite(span["distance"])
                assert math.isfinite(span["error"])
    assert load(tmp_path / "out" / "distances.zarr").equals(found.distances)
    for name in ("theta_mean", "risk", "f_mean"):
        assert np.array_equal(load(tmp_path / "out" / "results.zarr")[name], found.runs[name])


@pytest.mark.parametrize("chosen", _sample("order"))
def test_order(chosen: Configuration, tmp_path: Path) -> None:
    data, x, y = _data(chosen["data"], tmp_path)
    sizes: dict[str, Any] = {"time": 0.4, "members": 12, "sme_members": 12, "paths": 3, "backend": "numpy"}
    sizes |= {"kinds": chosen["kinds"], "groups": chosen["groups"], "seed": chosen["seed"]}
    network = {name: chosen[name] for name in ("activation", "mask", "keep_prob", "bias")} | {"width": 3}
    settings = sizes | network | data | {"output_scale": 0.5, "init_seed": 2, "lrs": ("0.2", "0.1", "0.05")}
    arguments = _arguments(settings, chosen["how"], tmp_path)
    assert cli.run(["order", *arguments, "--quiet", "--out", str(tmp_path / "out")]) == 0
    told = read_valid(tmp_path / "out" / "summary.json", "order")

    problem = _problem(chosen, x, y, width=3, output_scale=0.5)
    found = simdrop.study.order(problem, problem.init(seed=2), lrs=[0.2, 0.1, 0.05], **sizes)
    expected = _plain(found.summary, tmp_path)
    for part in ("problem", "settings", "kinds", "diverged", "failures"):
        assert told[part] == expected[part], part
    assert not told["failures"]
    for kind in found.errors["kind"].values:  # covariances only where a prediction has one, and the ensemble's groups
        rows = found.errors.sel(kind=kind)
        every = rows if PREDICTIONS[kind].spread else rows.sel(quantity=["parameters", "function", "risk"])
        assert np.isfinite(every["distance"]).all(), kind
        assert np.isfinite(every["error"]).all(), kind
        if not PREDICTIONS[kind].spread:
            assert np.isnan(rows["distance"].sel(quantity="covariance")).all(), kind
    assert load(tmp_path / "out" / "errors.zarr").equals(found.errors)


@pytest.mark.parametrize("chosen", _sample("sweep"))
def test_sweep(chosen: Configuration, tmp_path: Path) -> None:
    data, x, y = _data(chosen["data"], tmp_path)
    over = chosen["over"]
    network = {"width": 3, "output_scale": 0.5, "keep_prob": 0.7, "init_seed": 1, "lr": 0.05}
    fixed = {name: value for name, value in network.items() if name != over}
    fixed |= {name: chosen[name] for name in ("activation", "mask", "train")} | data
    lr = {"lr": fixed.pop("lr")} if over != "lr" else {}
    training = {"steps": 12, "members": chosen["members"], "record": 4, "dtype": chosen["dtype"], "backend": "numpy"}
    tables: dict[str, dict[str, Any]] = {
        "problem": fixed,
        "simulate": training | lr | {"keep": chosen["keep"]},
        "noise": {"place": chosen["place"]},
        "theory": {"kinds": chosen["kinds"]},
        "sweep": {"design": chosen["design"], over: OVER[over]},
    }
    lines = [
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()))
    ]
    (tmp_path / "sweep.toml").write_text("\n".join(lines) + "\n")
    assert cli.run(["sweep", str(tmp_path / "sweep.toml"), "--quiet", "--out", str(tmp_path / "out")]) == 0
    found = scale.load(tmp_path / "out")
    assert (found["diverged"] == 0).all()
    for k, value in enumerate(OVER[over]):
        point = found.isel({over if chosen["design"] == "grid" else "point": k})
        here = network | {over: value}
        problem = _problem(chosen, x, y, **{name: here[name] for name in ("width", "output_scale", "keep_prob")})
        compared = simdrop.compare(
            problem, problem.init(seed=here["init_seed"]), lr=here["lr"], kinds=chosen["kinds"],
            groups=chosen["members"], noise=simdrop.Noise(place=chosen["place"]), **training,
        )  # fmt: skip
        close = CLOSE[chosen["dtype"]]
        np.testing.assert_allclose(point["risk_mean"], compared.runs["risk_mean"], **close)
        for kind in chosen["kinds"]:
            own = compared.summary["quantities"]["parameters"]["flows"][kind]["final"]
            np.testing.assert_allclose(point["distance"].sel(kind=kind), own["distance"], **close)
            np.testing.assert_allclose(point["distance_error"].sel(kind=kind), own["error"], **close)
        if chosen["keep"]:
            np.testing.assert_allclose(
                point["theta_mean"].values[..., : problem.n_params], compared.runs["theta_mean"], **close
            )
