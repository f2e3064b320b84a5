"""The rules of the papers' experiments: they hold for what the papers print, and fail for what is not so.

Numbers as the papers have them pass; those of networks without dropout, of untrained ones and of a wrong theory fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr
from reproduce.drawn import drawn

from simdrop.reproduce import Row, Settings
from simdrop.reproduce.papers import (
    barriers,
    batch,
    condensation,
    flatness,
    four_losses,
    noise_alignment,
    noises,
    orientation_similarity,
    r1,
    r2,
    relu_fit,
    sample_size,
    small_init,
    sme,
    switch,
    teacher_recovery,
)
from simdrop.reproduce.shared import dropout_pair

SEEDS = 2


def failed(rows: Sequence[Row]) -> str:
    """The quantities whose rules do not hold, as one text."""
    return "; ".join(row.quantity for row in rows if row.holds is False)


def _r1() -> xr.Dataset:
    """What the paper prints at the ends of p, with values between them."""
    arms = (0.6, 0.7, 0.8, 0.9)
    risk, penalty = np.geomspace(5.07e-4, 0.72e-4, 4), np.geomspace(4.02e-3, 1.46e-3, 4)
    shape = (3, SEEDS, 4)
    scale = np.array([1, 1.006, 1])[:, None, None]
    accuracy = np.array([0.89, 0.89, 0.79])[:, None, None]
    values = {"risk": scale * risk, "r1": scale * penalty, "accuracy": accuracy}
    axes = ("objective", "seed", "keep_prob")
    variables = {name: (axes, np.broadcast_to(one, shape).copy()) for name, one in values.items()}
    return xr.Dataset(variables, {"objective": ["dropout", "risk+r1", "risk"], "keep_prob": list(arms)})


def test_r1() -> None:
    data = _r1()
    assert failed(r1.rows(data)) == ""
    without = data.assign(r1=0 * data["r1"], accuracy=0 * data["accuracy"] + 0.79)
    assert "R_1: at the smallest p" in failed(r1.rows(without))
    assert "R_1: largest difference" in failed(r1.rows(without))
    assert "gained" in failed(r1.rows(without))
    untrained = xr.full_like(data, 0.1).assign(risk=0 * data["risk"] + 300)
    assert "R_S: largest over p and losses" in failed(r1.rows(untrained))
    assert "R_S: at the smallest p" in failed(r1.rows(untrained))
    other = xr.where(data["objective"] == "risk+r1", 1.25, 1.0)
    assert "R_1: largest difference" in failed(r1.rows(data.assign(r1=data["r1"] * other)))
    early = data.isel(keep_prob=slice(None, None, -1)).assign_coords(keep_prob=data["keep_prob"])
    assert "R_1: at the smallest p" in failed(r1.rows(early))  # trends as they are when training has just begun
    sloped = data["accuracy"] - 0.05 * (data["keep_prob"] == 0.9)
    assert "range over p" in failed(r1.rows(data.assign(accuracy=sloped)))


def _four(accuracy: Sequence[float], risk: float = 5e-4) -> xr.Dataset:
    names, shape = list(four_losses.LOSSES), (1, 6, SEEDS, 2)
    values = {
        "accuracy": np.array(accuracy)[None, :, None, None] * np.ones(shape), "risk": np.full(shape, risk)
    }  # fmt: skip
    axes = ("lr", "objective", "seed", "keep_prob")
    coords = {"lr": [5e-3], "objective": names, "keep_prob": [0.6, 0.8]}
    return xr.Dataset({name: (axes, one) for name, one in values.items()}, coords)


def test_four_losses() -> None:
    names = list(four_losses.LOSSES)
    high = [0.89 if name in ("dropout", "L1", "L3") else 0.79 for name in names]
    assert failed(four_losses.rows(_four(high))) == ""
    assert "worst of dropout" in failed(four_losses.rows(_four([0.79] * 6)))  # p = 1
    assert "worst of dropout" in failed(four_losses.rows(_four([0.1] * 6, 300)))
    assert "R_S: largest" in failed(four_losses.rows(_four(high, 0.2)))  # stopped early
    without = [0.79 if name == "L3" else one for name, one in zip(names, high, strict=True)]
    assert "worst of dropout" in failed(four_losses.rows(_four(without)))  # R̃_2, not R_1, as what matters
    apart = [0.97 if name == "L1" else one for name, one in zip(names, high, strict=True)]
    assert "largest difference of dropout" in failed(four_losses.rows(_four(apart)))


def _barriers(barrier: Sequence[float], distance: Sequence[float], risk: float = 1e-4) -> xr.Dataset:
    names = [f"{one} - {two}" for one, two in barriers.PAIRS]
    columns = np.ones((1, SEEDS))
    return xr.Dataset(
        {
            "barrier": (("pair", "seed"), np.array(barrier)[:, None] * columns),
            "distance": (("pair", "seed"), np.array(distance)[:, None] * columns),
            "risk": (("objective", "seed"), np.full((4, SEEDS), risk)),
            "accuracy": (("objective", "seed"), np.full((4, SEEDS), 0.8)),
        },
        {"pair": names, "objective": list(barriers.LOSSES)},
    )


def test_barriers() -> None:
    published = [0.0008, 0.0131, 0.02, 0.02, 0.0334, 0.01]  # L1-L3, then those between L1 or L3 and L2 or L4, L2-L4
    far = [1.0, 20.0, 20.0, 20.0, 20.0, 5.0]
    assert barriers.PAIRS[0] == ("L1", "L3")
    assert failed(barriers.rows(_barriers(published, far))) == ""
    high = [0.0, *[1.3] * 5]
    verdicts = [row.verdict for row in barriers.rows(_barriers(high, far)) if row.quantity.startswith("barrier: least")]
    assert verdicts == ["does not reproduce"]
    assert "R_S: largest" in failed(barriers.rows(_barriers(published, far, 0.7)))  # untrained, or stopped early
    same = failed(barriers.rows(_barriers([0.0] * 6, [0.0] * 6)))  # p = 1: all losses are R_S
    assert "barrier: L1 to L3" in same
    assert "distance: L1 to L3" in same
    elsewhere = [0.02, *published[1:]]
    assert "barrier: L1 to L3" in failed(barriers.rows(_barriers(elsewhere, far)))


def _small(dropout: Sequence[float], plain: Sequence[float]) -> xr.Dataset:
    risk = np.array([dropout, plain], dtype=np.float64).T[:, None] * np.ones((1, SEEDS, 1))
    step = ("record", [0, 5_000, 20_000, 100_000])
    attrs = {"saddle": 0.087}
    return xr.Dataset({"all_risk": (("record", "seed", "arm"), risk), "all_step": step}, attrs=attrs)


def test_small_init() -> None:
    stays = [1.0, 0.087, 0.087, 0.087]
    assert failed(small_init.rows(_small([1.0, 0.05, 3e-4, 1e-5], stays))) == ""
    both = failed(small_init.rows(_small(stays, stays)))  # p = 1
    assert "the same, with/without" in both
    assert "share of networks" in both
    assert "share of networks" in failed(small_init.rows(_small([1.0, 0.06, 0.055, 0.055], stays)))  # the other saddle
    assert "the same share" in failed(small_init.rows(_small([1.0, 0.05, 3e-4, 1e-5], [1.0, 0.087, 0.01, 1e-6])))
    assert "share of networks" in failed(small_init.rows(_small([1.0] * 4, [1.0] * 4)))  # untrained


def _switch(**changes: Any) -> xr.Dataset:
    """Risks, R_1 and orientations of the three arms at the switch, at step 4e5 and at the end."""
    levels = {"dropout": (0.0, 8e-4, 6e-4), "risk+r1": (0.0, 6e-4, 3e-4), "risk": (1.1e-4, 0.0, 0.0)}
    known: dict[str, Any] = {"risk": np.array([[9e-5, levels[a][1], levels[a][2]] for a in switch.ARMS])}
    known["r1"] = np.array([[0.0, 5e-4, 8e-4], [0.0, 4.4e-4, 3.5e-4], [0.0, 0.0, 0.0]])
    known["holding"] = np.array([[20, 4, 4], [20, 4, 4], [20, 20, 20]])
    known["near"] = np.array([[0.0, 1, 1], [0.0, 1, 1], [0.0, 0, 0]])
    known |= changes
    axes = ("arm", "time", "seed")
    variables = {name: (axes, values[:, :, None] * np.ones((1, 1, SEEDS))) for name, values in known.items()}
    coords = {"arm": list(switch.ARMS), "step": ("time", [200_000, 400_000, 600_000])}
    return xr.Dataset(variables, coords, {"switch": 200_000, "steps": 600_000})


def test_switch() -> None:
    data = _switch()
    assert failed(switch._rows(data)) == ""
    without = failed(switch._rows(data.assign(r1=0 * data["r1"], risk=0 * data["risk"] + 1e-6)))  # p = 1
    assert "R_S + R_1 at the end" in without
    assert "E R_drop at the end" in without
    untrained = failed(switch._rows(data.assign(risk=0 * data["risk"] + 1)))
    assert "R_S at step 200000" in untrained
    assert "R_S + R_1 at step 400000" in untrained
    assert "R_S + R_1 at the end" in failed(switch._rows(data.assign(r1=5 * data["r1"])))  # another v
    assert "dropout switched on: orientations" in failed(switch._rows(data.assign(holding=0 * data["holding"] + 20)))


def _samples(with_: Sequence[float], without: Sequence[float]) -> xr.Dataset:
    n = list(range(1, len(with_) + 1))
    error = np.array([with_, without]).T[None] * np.array([0.9, 1.1])[:, None, None]
    return xr.Dataset({"error": (("seed", "n", "keep_prob"), error)}, {"n": n, "keep_prob": list(dropout_pair.ARMS)})


def test_sample_size() -> None:
    published = [*sample_size.PUBLISHED, 1e-3, 1e-3]
    slow = [1.0] * 6 + [0.5, 0.2]
    assert failed(sample_size._rows("tanh", _samples(published, slow))) == ""
    without = failed(sample_size._rows("tanh", _samples(slow, slow)))  # p = 1
    assert "with/without" in without
    assert "samples from which on" in without
    assert "the same, without" in without
    rows = sample_size._rows("tanh", _samples([*published[:5], 0.06, 0.02, 0.01], slow))
    assert [row.verdict for row in rows if "samples from which on" in row.quantity] == ["does not reproduce"]


def test_orientation_similarity() -> None:
    def rows(count: float, cosine: float, without: float) -> str:
        columns = np.ones((SEEDS, 1))
        held, opposite = columns * [count, without], columns * [cosine, 0.3]
        return failed(orientation_similarity._rows(held, opposite, columns * [0.95, 0.2], columns * [0.9, 0.1]))

    assert rows(2, -0.999, 20) == ""
    assert "90 %" in rows(20, 0.3, 20)  # p = 1, or untrained
    assert "90 %" in rows(4, -0.999, 20)
    assert "cosine" in rows(2, 0.2, 20)
    assert "p = 0.5 / p = 1" in rows(2, -0.999, 2)


def test_noise_alignment() -> None:
    values = {"alignment": [[0.66, 0.67, 0.65], [0.98, 0.99, 0.99]], "rest": [[0.3, 0.31, 0.29], [0.5, 0.55, 0.5]]}
    data = xr.Dataset({name: (("time", "seed"), np.array(rows)) for name, rows in values.items()})
    for name in ("null_mean", "score"):
        data[name] = ("time", "seed"), np.ones((2, 3))
    data["isotropic"] = "seed", np.full(3, 0.4)
    fits = {
        "curvature_exponent": (("seed", "source"), np.ones((3, 3)) + 0.01 * np.eye(3)),
        "null_exponent": (("seed", "draw"), np.zeros((3, 5))),
        "own_width_exponent": ("seed", np.array([-1.0, -1.1, -0.9])),
    }  # fmt: skip
    ways = xr.Dataset(fits)
    assert failed(noise_alignment._rows("step", data, ways)) == ""
    still = failed(noise_alignment._rows("step", data.isel(time=[0, 0]), ways))  # untrained
    assert "alignment, end - start" in still
    assert "without the largest eigenvalues, end - start" in still
    chance = failed(noise_alignment._rows("step", data, 0 * ways))
    assert "exponent of variance over curvature" in chance
    assert "exponent of variance over width" in chance


def test_r2() -> None:
    def rows(large: float, penalty: float, small: float) -> str:
        loss = np.array([large, penalty, small])[:, None, None] * np.array([[0.99, 1.0, 1.01]] * 3)[:, None]
        axes = ("run", "lr", "seed")
        data = xr.Dataset(dict.fromkeys(("mean_loss", "ratio", "accuracy"), (axes, loss)))
        return failed(r2._rows(data.assign_coords(run=list(r2.NAMES), lr=[0.01])))

    assert rows(0.96, 0.961, 1.0) == ""
    assert "nearer" in rows(0.96, 1.0, 1.0)  # without R_2
    assert "nearer" in rows(0.96, 1.04, 1.0)  # R_2 with the other sign
    assert "nearer" in rows(1.0, 1.0, 1.0)  # untrained


def test_arms_that_do_not_differ_fail() -> None:
    """p = 1 in both arms: what condenses, smooths or flattens with dropout must not do so by itself."""
    x = np.linspace(-1, 1, 21)
    f = np.tile(np.sin(9 * x), (3, 2, 1)) * np.array([1.0, 1.1, 0.9])[:, None, None]
    loss = np.ones((3, 2, 1, len(relu_fit.flatness.LINE)))
    loss[..., relu_fit.flatness.LINE == 0] = 0.1
    rows = relu_fit._rows("step", f, x, x, loss, np.ones((3, 2)))
    assert failed(rows).count("with/without") == 3
    ends = {"holding": 20.0, "near": 0.1, "above": 200.0, "small_share": 0.3}
    axes = ("arm", "time", "seed")
    data = xr.Dataset({name: (axes, np.full((2, 1, 3), value)) for name, value in ends.items()})
    rows = condensation._rows("step", data.assign_coords(arm=list(dropout_pair.ARMS)), np.full(3, 0.05))
    assert failed(rows).count("p = 0.9") == 3
    condensed = data.assign(holding=0 * data["holding"] + 4, near=0 * data["near"] + 1)
    rows = condensation._rows("step", condensed.assign_coords(arm=list(dropout_pair.ARMS)), np.full(3, 0.005))
    assert failed(rows).count("p = 1") == 2


def test_batches_that_condense_and_dropout_that_does_not_fail() -> None:
    def ends(number: float, near: float) -> xr.Dataset:
        return xr.Dataset({"holding": ("seed", np.full(3, number)), "near": ("seed", np.full(3, near))})

    scattered, condensed = ends(30, 0.03), ends(4, 0.99)
    assert failed(batch._rows({"batch": scattered, "dropout": condensed, "both": condensed})) == ""
    without = failed(batch._rows(dict.fromkeys(batch.ARMS, scattered)))  # p = 1, or untrained
    assert without.count("p = 0.9, full batch") == 2
    assert failed(batch._rows(dict.fromkeys(batch.ARMS, condensed))).count("no dropout") == 2


def test_flatness_of_arms_that_do_not_differ_fails() -> None:
    spread = np.array([1.0, 1.1, 0.9])
    both = np.ones((len(flatness.MEASURES), 3, 2)) * np.stack([spread, spread[::-1]], axis=1)
    ends = np.ones((3, 2))
    assert failed(flatness._rows("tanh", both * [0.5, 1.0], ends)) == ""
    assert failed(flatness._rows("tanh", both, ends)).count("with/without") == len(flatness.MEASURES)  # p = 1
    sharper = failed(flatness._rows("tanh", both * [2.0, 1.0], ends))
    assert sharper.count("with/without") == len(flatness.MEASURES)


def test_teacher_recovery_of_arms_that_do_not_differ_fails() -> None:
    def rows(with_: float, without: float) -> str:
        kept = teacher_recovery.KEEP_PROBS
        values = np.where(np.array(kept) < 1, with_, without) * np.array([1.0, 1.1, 0.9])[:, None, None]
        axes = ("seed", "n", "keep_prob")
        variables = {name: (axes, values * np.ones((1, 2, 1))) for name in ("error", "angle")}
        data = xr.Dataset(variables, {"n": [8, 14], "keep_prob": list(kept)})
        return failed(teacher_recovery._rows("sample", data))

    assert rows(0.01, 0.5) == ""
    assert rows(0.5, 0.5).count("p = 0.9 / p = 1") == 2  # p = 1, or untrained
    assert rows(0.9, 0.5).count("p = 0.9 / p = 1") == 2


def _equations(**powers: float) -> str:
    """What fails where each prediction's error is 0.3 lr to a power, closest for SME 2 unless it has SME 1's power."""
    lrs, kept = np.array([0.02, 0.05, 0.1, 0.2]), np.array([0.05, *sme.JUDGED])
    seeds = np.array([1.0, 1.05, 0.95])[:, None, None]
    known = {"gradient": 0.0, "averaged": 1.0, "sme1": 1.0, "sme2": 2.0} | powers
    values = np.stack([0.3 * lrs**power * seeds * np.ones((1, len(kept), 1)) for power in known.values()])
    axes, coords = ("kind", "seed", "keep_prob", "lr"), {"kind": list(known), "keep_prob": kept, "lr": lrs}
    relative = xr.DataArray(values, coords, axes)
    return failed(sme._rows(relative, 1e-4 * relative))


def test_sme() -> None:
    assert _equations() == ""
    assert _equations(sme1=0.0).count("SME of order 1") == len(sme.JUDGED)  # an error that stays as lr falls
    assert _equations(gradient=1.0).count("control") == len(sme.JUDGED)  # p = 1: all of them are gradient flow
    assert "SME 2 / SME 1" in _equations(sme2=1.0)


@pytest.fixture(scope="module")
def moved() -> xr.Dataset:
    """`noises` with one run from each of three starts, for a third of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noises, "COPIES", {False: 1})
        arms = {name: arm._replace(slow=arm.slow / 3) for name, arm in noises.ARMS.items()}
        patch.setattr(noises, "ARMS", arms)
        return drawn(noises.EXPERIMENT, Settings(seeds=3, threads=1)).data


def test_noises_move_as_their_limits_say(moved: xr.Dataset) -> None:
    assert failed(noises.rows(moved)) == ""


def test_noises_that_move_otherwise_fail(moved: xr.Dataset) -> None:
    root, limit = np.sqrt(noises.SHARES), moved["limit_dropout"].transpose("time", ...)
    for factor in (0.7, 1.4):  # v wrong by so much
        earlier = np.apply_along_axis(lambda row, at: np.interp(at, root, row), 0, limit.values, np.sqrt(factor) * root)
        faster = moved.assign(limit_dropout=(limit.dims, earlier))
        assert "dropout: R_1 / v" in failed(noises.rows(faster))
        assert "R_S + R_1 without noise" in failed(noises.rows(faster))
    start = {name: moved[name].isel(time=0).broadcast_like(moved[name]) for name in ("rho", "trace")}
    still = failed(noises.rows(moved.assign(start)))  # p = 1 and no noise, or untrained
    assert all(name in still for name in ("dropout: R_1", "without noise: R_1", "label noise: Tr H"))
    begun = moved["groups"].isel(at=0).broadcast_like(moved["groups"])
    assert "orientations, dropout" in failed(noises.rows(moved.assign(groups=begun)))
    drifting = moved["rho"].where(moved["arm"] != "minibatch", moved["rho"].sel(arm="dropout"))
    assert "minibatches" in failed(noises.rows(moved.assign(rho=drifting)))
