"""sme(): backends against each other, what paths may depend on, their limits, one step's law, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE
from numpy.typing import NDArray
from oracles import enumeration, steps

import simdrop
from simdrop.errors import Diverged, InvalidInput
from simdrop.problem import Noise
from simdrop.simulation.carry_out import Output
from simdrop.simulation.paths_plan import PathsPlan, schedule
from simdrop.simulation.sme import follow
from simdrop_kernels import BackendError, registry
from simdrop_kernels.contract.equation import INCREMENTS, Equation
from simdrop_kernels.contract.step import Ensemble
from simdrop_kernels.cpu.compile import scalar
from simdrop_kernels.cpu.follow import backend as parallel
from simdrop_kernels.cpu.follow import workspace
from simdrop_kernels.cpu.follow.drift import make_forward
from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS, scalars
from simdrop_kernels.native import follow as native
from simdrop_kernels.reference import follow as reference

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
THETA0 = PROBLEM.init(seed=3)
WIDE = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=50_000)


def _sme(problem: simdrop.Problem = PROBLEM, theta0: NDArray = THETA0, **changes: Any) -> Any:
    settings: dict[str, Any] = {"lr": 0.1, "times": [0.2, 0.5], "members": 30, "backend": "numpy"} | changes
    return simdrop.sme(problem, theta0, **settings)


C = pytest.param("native", marks=pytest.mark.skipif(native.unavailable() is not None, reason="C is not built"))
BACKENDS = ["numpy", "numba", C]

COVER: list[dict[str, Any]] = [
    {},
    {"order": 1, "scheme": "heun"},
    {"scheme": "euler", "law": "gaussian", "masks": 2},
    {"label": 0.3, "parameter": 0.2, "masks": 3},
    {"train": "output", "label": 0.1, "parameter": 0.1},
    {"train": "input", "part": "noise"},
    {"part": "drift", "scheme": "heun"},
    {"mask": "sample"},
    {"mask": "sample", "scheme": "heun", "law": "gaussian", "label": 0.3},
    {"mask": "sample", "batch_size": 3, "label": 0.1, "masks": 2},
    {"mask": "sample", "batch_size": 3, "replace": True, "parameter": 0.2},
    {"mask": "sample", "batch_size": 3, "antithetic": True, "label": 0.1, "parameter": 0.2},
]


def _agree(
    equation: Equation, backend: Any, *, width: int, outputs: int, samples: int = 5, dtype: str = "float64"
) -> None:
    """Two steps of a backend and of NumPy, paths of their own lr and keep_prob (no dropout in one), late numbers."""
    problem = enumeration.problem(width=width, outputs=outputs, samples=samples)
    theta = np.stack([problem.init(seed=seed) for seed in range(3)]) / np.sqrt(width)
    theta[1, 0] *= 20  # one neuron larger than all others
    x, y = problem.inputs.astype(dtype), problem.y.astype(dtype)
    ours, theirs = (
        Ensemble.start(theta, lr=[0.2, 0.3, 0.4], keep_prob=[0.3, 0.8, 1.0], first_member=7, dtype=dtype)
        for _ in range(2)
    )
    first_step = 2**31 + 5 if equation.increments == "normal" else 2**29 + 5  # 2 k draws a step are numbered there
    options: dict[str, Any] = {"seed": 2**40 + 1, "first_step": first_step, "sizes": np.array([0.01, 0.02])}
    reference.advance(equation, x, y, theirs, **options)
    backend.advance(equation, x, y, ours, threads=2, **options)
    assert np.abs(theirs.theta - theta).max() > 1e-4, "nothing moved: the comparison would be empty"
    largest = np.abs(theirs.theta).max()
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * largest)
    assert (ours.diverged == -1).all()


@pytest.mark.parametrize(("width", "outputs"), [(1, 1), (2, 2), (17, 1), (40, 2)])
@pytest.mark.parametrize("settings", COVER)
def test_numba_agrees_with_numpy(settings: dict[str, Any], width: int, outputs: int) -> None:
    _agree(steps.equation(output_scale=0.8, **settings), parallel, width=width, outputs=outputs)


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
@pytest.mark.parametrize("increments", INCREMENTS)
@pytest.mark.parametrize(("width", "outputs"), [(1, 1), (2, 1), (3, 2), (17, 1), (40, 2)])
@pytest.mark.parametrize("settings", [*COVER, {"batch_size": 3, "label": 0.1, "law": "gaussian"}])
def test_native_agrees_with_numpy(settings: dict[str, Any], width: int, outputs: int, increments: str) -> None:
    for dtype in ("float64", "float32"):
        equation = steps.equation(output_scale=0.8, increments=increments, **settings)
        _agree(equation, native, width=width, outputs=outputs, dtype=dtype)


@pytest.mark.slow
def test_numba_agrees_with_numpy_where_numbers_are_drawn_by_parts() -> None:
    _agree(steps.equation(output_scale=0.8, law="gaussian"), parallel, width=151, outputs=1, samples=2)
    _agree(steps.equation(output_scale=0.8, law="gaussian", mask="sample"), parallel, width=151, outputs=1, samples=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("activation", "dtype"), [("relu", "float64"), ("tanh", "float32")])
def test_numba_agrees_with_numpy_for_other_activations(activation: str, dtype: str) -> None:
    for mask in ("step", "sample"):
        _agree(steps.equation(activation=activation, mask=mask), parallel, width=9, outputs=2, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_forward_pass_is_that_of_every_activation(activation: str, dtype: str) -> None:
    """By normal increments an activation enters nowhere else; the whole kernel compiles for most of a minute."""
    import numba

    real = np.dtype(dtype).type
    forward = make_forward(scalars(activation, scalar, real))

    @numba.njit(error_model="numpy")
    def run(theta: Any, x: Any, y: Any, sizes: Any) -> Any:
        found = workspace.make_room(sizes, real(0), (1, 1))
        workspace.load(theta, sizes, found.point)
        forward(found, sizes, x, y, real(0.8), True)
        return found.h, found.h1, found.h2, found.e

    problem = enumeration.problem(width=9, outputs=2, samples=5)
    theta = problem.init(seed=0)
    theta[-1] *= 20  # one neuron that saturates
    a, w = problem.split(theta)
    x = np.pad(problem.inputs, ((0, 0), (0, problem.inputs.shape[1] % 2)))
    sizes = workspace.Sizes(len(x), 2, x.shape[1], w.shape[1], 9, 1, len(x), False)
    *ours, residuals = run(*(array.astype(dtype) for array in (theta, x, problem.y)), sizes)
    theirs = [*ACTIVATIONS[activation].derivatives(problem.inputs @ w.T, 2)]
    pairs = [*zip([rows[:, :9] for rows in ours], theirs, strict=True), (residuals, 0.8 * theirs[0] @ a.T - problem.y)]
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[dtype] * np.abs(wanted).max())


def test_compiled_normal_numbers_are_those_of_rng() -> None:
    import numba

    from simdrop_kernels.cpu.draws import LANES, lanes_over
    from simdrop_kernels.cpu.normals import draw_normals, normal_pair

    @numba.njit
    def draw(row: int, step: int, member: Any, key: Any) -> Any:
        z, words = np.empty(4 * LANES), np.empty(4 * LANES, np.uint64)
        draw_normals(z, words, lanes_over(LANES, 1), LANES, 3, row, step, member, key)
        return z

    @numba.njit
    def pairs(w0: Any, w1: Any) -> Any:
        z = np.empty((w0.size, 2))
        for k in range(w0.size):
            z[k] = normal_pair(w0[k], w1[k])
        return z

    seed = 2**50 + 3
    wanted = rng.normals(rng.STREAM_SDE, 4 * LANES + 12, 2**28 + 7, 9, 3, seed)[12:]
    found = draw(2**28 + 7, 9, np.uint64(3), np.array(rng.split_seed(seed)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
    # where logarithms and quadrants end
    edges = np.array([0, 1, 2, 2**29 - 1, 2**29, 2**30, 3 * 2**29, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint64)
    edges = np.concatenate([edges, np.array([round(2**32 / 2**0.5) + k for k in (-1, 0, 1)], np.uint64)])
    w0, w1 = (grid.ravel() for grid in np.meshgrid(edges, edges))
    np.testing.assert_allclose(pairs(w0, w1), np.stack(rng.box_muller(w0, w1), axis=1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_and_threads_change_no_number(backend: str) -> None:
    wanted: dict[str, Any] = {"covariance": [1, 2], "grid": X, "groups": 3, "keep_theta": [3, 20], "backend": backend}
    whole = _sme(**wanted, threads=1)
    for limits in ({"block_size": 7}, {"memory": 10 * 15 * 8}, {"threads": 2}):
        other = _sme(**wanted, **limits)
        for name in whole:
            assert np.array_equal(whole[name], other[name], equal_nan=True), (limits, name)
    assert not np.array_equal(whole.theta, _sme(**wanted, seed=1).theta)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [1, 2])
def test_without_noise_paths_are_the_flow(order: int, backend: str) -> None:
    """keep_prob 1, and the drift alone: θ' = -∇(L + (lr/4)|∇L|²) by a Runge-Kutta method with the Hessian of theory."""
    lr, times = 0.2, [0.3, 1.0]
    plain = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=1.0)
    for problem, noise in ((plain, None), (PROBLEM, Noise(part="drift"))):

        def slope(theta: NDArray, problem: simdrop.Problem = problem) -> NDArray:
            gradient = simdrop.theory.mean_gradient(problem, theta)
            bend = simdrop.theory.hessian_product(problem, theta, gradient) if order == 2 else 0
            return -gradient - lr / 2 * bend

        wanted = enumeration.runge_kutta(slope, THETA0, np.array([0.0, *times]), 200)[1:]
        found = _sme(problem, lr=lr, times=times, order=order, noise=noise, members=2, substeps=20, backend=backend)
        np.testing.assert_allclose(found.theta_mean, wanted, rtol=0, atol=2e-8)
        assert (found.theta_std == 0).all()


def test_noise_alone_is_a_martingale_and_k_masks_shrink_it() -> None:
    one, nine = (
        _sme(noise=Noise(part="noise", masks=k), scheme="euler", substeps=1, times=[0.1], members=2, keep_theta=True)
        for k in (1, 9)
    )
    start = THETA0
    np.testing.assert_allclose(one.theta[-1] - start, 3 * (nine.theta[-1] - start), rtol=1e-12, atol=1e-14)


def _distance(paths: NDArray, mean: NDArray, covariance: NDArray) -> tuple[float, float]:
    """How far mean and covariance of normal vectors (M, P) are from those supposed, in standard errors at most."""
    count = len(paths)
    spread = paths - mean
    along = np.abs(spread.mean(axis=0)) / np.sqrt(np.diag(covariance) / count)
    sizes = np.sqrt((covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / count)
    return float(along.max()), float((np.abs(spread.T @ spread / count - covariance) / sizes).max())


#: P (P + 3) / 2 = 135 numbers of one test at 6 standard errors each: false alarm below 3e-7
ALARM = 6


@pytest.mark.parametrize("law", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_one_step_has_the_law_of_theory(mask: str, law: Any) -> None:
    """One step of Euler-Maruyama from one point: normal, with mean -lr ∇L and covariance lr² Σ."""
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, mask=mask)
    noise, lr = Noise(law=law), 0.1
    paths = _sme(
        problem, lr=lr, times=[lr], scheme="euler", substeps=1, order=1, members=20000, noise=noise,
        backend="numba", keep_theta=True,
    ).theta.values[-1]  # fmt: skip
    mean = THETA0 - lr * simdrop.theory.mean_gradient(problem, THETA0)
    covariance = lr * lr * simdrop.theory.noise_covariance(problem, THETA0, noise=noise)
    assert max(_distance(paths, mean, covariance)) < ALARM
    # what differs a little fails the same test: other masks, keep_prob off by 0.02
    other = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, mask="sample" if mask == "step" else "step")
    close = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.72, mask=mask)
    for wrong in (other, close):
        claimed = lr * lr * simdrop.theory.noise_covariance(wrong, THETA0, noise=noise)
        assert _distance(paths, mean, claimed)[1] > ALARM


def test_steps_meet_the_times() -> None:
    steps, sizes = schedule(np.array([0.0, 0.1, 0.35, 1.0]), 0.1)
    assert list(steps) == [0, 1, 4, 11]
    np.testing.assert_allclose(np.cumsum(sizes)[steps[1:] - 1], [0.1, 0.35, 1.0], rtol=1e-14)
    assert sizes.max() <= 0.1 * (1 + 1e-6)
    data = _sme(times=[0.0, 0.25], substeps=2)
    assert list(data.step) == [0, 5]
    assert list(data.time) == [0, 0.25]
    np.testing.assert_allclose(data.theta_mean[0], THETA0, rtol=1e-14)


def test_default_steps_are_short_beside_the_curvature() -> None:
    largest = np.linalg.eigvalsh(simdrop.theory.hessian(PROBLEM, THETA0)).max()
    for lr in (0.01, 0.3, 1.0):
        substeps = _sme(lr=lr, times=[lr], members=1).attrs["substeps"]
        assert lr * largest / substeps <= 0.25 * 1.01
        assert substeps == 1 or lr * largest / (substeps - 1) > 0.25 * 0.99
    assert _sme(scheme="heun", members=1).attrs["substeps"] > _sme(members=1).attrs["substeps"]


def test_every_path_has_its_start() -> None:
    starts = PROBLEM.init(seed=5, members=2)
    both = _sme(theta0=starts, members=None, keep_theta=True)
    one = _sme(theta0=starts[0], members=1, keep_theta=True)
    assert np.array_equal(both.theta[:, 0], one.theta[:, 0])


def test_provenance_tells_the_equation() -> None:
    attrs = _sme(order=1, noise=Noise(masks=2, label=0.1), seed=2**64 - 1, substeps=3).attrs
    told = {"kind": "sme", "order": 1, "scheme": "rk4", "substeps": 3, "masks": 2, "label": 0.1, "lr": 0.1}
    assert told.items() <= attrs.items()
    assert attrs["seed"] == str(2**64 - 1)
    assert attrs["backend"] == "numpy"


@pytest.mark.parametrize("backend", BACKENDS)
def test_paths_that_diverge_are_told(backend: str) -> None:
    far = np.full_like(THETA0, 1e308)  # the outputs overflow
    starts = np.stack([THETA0, far])
    with pytest.warns(simdrop.errors.DivergenceWarning, match=r"1 of 2 members .* 1 \(step 0\)"):
        data = _sme(theta0=starts, members=None, backend=backend)
    assert list(data.diverged) == [-1, 0]
    assert list(data.alive) == [1, 1]
    with pytest.warns(simdrop.errors.DivergenceWarning):
        after = _sme(theta0=starts[::-1], members=None, backend=backend, keep_theta=True, substeps=2)
    alone = _sme(theta0=np.stack([THETA0] * 2), members=None, backend=backend, keep_theta=True, substeps=2)
    assert np.array_equal(after.theta[:, 1], alone.theta[:, 1]), "a path that was lost touched the next"
    with pytest.raises(Diverged, match="all members diverged"):
        _sme(theta0=far, backend=backend)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 3}, "order must be at most 2, got 3"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"times": [0.2, 0.1]}, "times must increase"),
        ({"times": [1e12]}, "more than 4294967296"),
        ({"times": [8e8], "increments": "masks", "substeps": 1}, "more than 2147483648"),
        ({"lr": {0: 1e-9, 1: 2e-9}, "times": [1e4]}, "need 5e[+]12 steps, more than 4294967296"),
        ({"lr": {0: 0.1, 1: 0.05}, "substeps": 2**40}, "more than 4294967296"),
        ({"lr": {0: 0.1, 2: 0.05}, "noise": Noise(masks=2**30), "increments": "masks"}, "steps, more than 2"),
        ({"noise": Noise(masks=2**40), "increments": "masks"}, "at most 2147483648 masks a step"),
        (
            {"noise": Noise(batch_size=2**31, replace=True), "increments": "masks"},
            "at most 1073741824 where it is drawn",
        ),
        (
            {"problem": WIDE, "theta0": WIDE.init(seed=0), "substeps": 1},
            "take 1250025000 numbers a step of width 50000",
        ),
        ({"members": None}, "members is missing"),
        ({"members": 0}, "members must be a whole number of at least 1"),
        ({"theta0": np.zeros((3, 15))}, "theta0 must be the same for all or given for 30 members"),
        ({"scheme": "milstein"}, "unknown scheme 'milstein'"),
        ({"substeps": 0}, "substeps must be a whole number of at least 1"),
        ({"noise": "dropout"}, "noise must be a simdrop.Noise or None"),
        ({"noise": Noise(connect=0.5), "increments": "normal"}, "not written for DropConnect"),
        ({"increments": "two-point"}, "unknown increments 'two-point'"),
        ({"noise": Noise(batch_size=9)}, "batch_size must be at most the 4 samples"),
        ({"backend": "torch"}, "unknown backend 'torch'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        _sme(**change)


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
def test_normal_increments_stand_for_any_number_of_masks_and_samples() -> None:
    """None of them is drawn: they only scale the noise."""
    noise = Noise(masks=2**40, batch_size=2**40, replace=True)
    ours, theirs = (_sme(noise=noise, backend=name, keep_theta=True).theta for name in ("native", "numpy"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_numba_says_what_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="minibatches under one mask"):
        _sme(noise=Noise(batch_size=2), backend="numba")
    monkeypatch.setattr(native, "unavailable", lambda: "it is hidden")
    data = _sme(noise=Noise(batch_size=2), backend="auto")
    assert data.attrs["backend"] == "numpy"
    assert "minibatches under one mask" in data.attrs["backend_reason"]
    assert parallel.refuses(steps.equation(batch_size=2, increments="masks"), np.dtype("float64")) is None
    with pytest.raises(BackendError, match="order 2 under DropConnect"):
        _sme(noise=Noise(connect=0.5), backend="numba")
    assert set(registry.names(registry.FOLLOWING)) == {"cuda", "native", "numba", "numpy"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_antithetic_paths_are_driven_by_opposite_noise(backend: str) -> None:
    """The first path of a pair is that of W, and one step from one point moves the second the other way."""
    plain = _sme(backend=backend, keep_theta=True, members=3)
    pairs = _sme(backend=backend, keep_theta=True, members=6, antithetic=True)
    np.testing.assert_array_equal(pairs["theta"].values[:, ::2], plain["theta"].values)
    still = steps.equation(scheme="euler", part="noise", antithetic=True)
    ensemble = Ensemble.start(np.stack([THETA0] * 6), lr=0.1, keep_prob=0.7)
    {"numpy": reference, "numba": parallel, "native": native}[backend].advance(
        still, PROBLEM.inputs, PROBLEM.y, ensemble, seed=1, first_step=0, sizes=np.array([0.1])
    )
    moved = ensemble.theta - THETA0
    assert np.abs(moved).max() > 1e-2
    np.testing.assert_allclose(moved[::2], -moved[1::2], rtol=0, atol=1e-14)


def test_antithetic_means_scatter_less() -> None:
    """Odd orders cancel: at lr 0.05 group means have a sixth of the variance, far below the half asked for here."""
    spread = [
        _sme(lr=0.05, times=[1.0], members=4000, groups=100, backend="numba", antithetic=antithetic)["group_theta_mean"]
        .values[-1].var(axis=0).sum()
        for antithetic in (False, True)
    ]  # fmt: skip
    assert spread[1] < spread[0] / 2


def test_antithetic_paths_come_in_pairs_in_every_group() -> None:
    with pytest.raises(InvalidInput, match="members must be a multiple of 2, got 3"):
        _sme(members=3, antithetic=True)
    with pytest.raises(InvalidInput, match="members must be a multiple of 20, got 30"):
        _sme(members=30, groups=10, antithetic=True)


@pytest.mark.parametrize("backend", ["numpy", C])
def test_joined_steps_follow_the_same_brownian_motion(backend: Any) -> None:
    """Noise that depends on nothing: where labels alone are noisy and input weights frozen, steps add up exactly."""
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=1.0, train="output")
    known: dict[str, Any] = {"lr": 0.1, "times": [0.4], "members": 6, "noise": Noise(label=0.3, part="noise")}
    known |= {"antithetic": True, "keep_theta": True, "backend": backend}
    output = Output()
    longer, shorter, other = (
        follow(PathsPlan.check(problem, THETA0, substeps=substeps, joined=joined, **known), output).theta.values[-1]
        for substeps, joined in ((1, 3), (3, 1), (1, 1))
    )
    np.testing.assert_allclose(longer, shorter, rtol=1e-12)
    assert np.abs(longer - other).max() > 1e-3


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
@pytest.mark.parametrize("noise", [Noise(), Noise(batch_size=3, label=0.2, parameter=0.1)], ids=["dropout", "more"])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_joined_steps_are_the_same_on_backends(mask: Any, noise: Noise) -> None:
    problem = replace(PROBLEM, mask=mask)
    known: dict[str, Any] = {"lr": 0.1, "times": [0.5], "members": 20, "noise": noise, "keep_theta": True, "joined": 2}
    paths = [
        follow(PathsPlan.check(problem, THETA0, backend=backend, **known), Output()).theta.values[-1]
        for backend in ("numpy", "native")
    ]
    np.testing.assert_allclose(*paths, rtol=1e-12, atol=1e-12)
    equation = Equation(joined=2)
    assert "not joined" in (parallel.refuses(equation, np.dtype(float)) or "")
    with pytest.raises(InvalidInput, match="more than"):
        PathsPlan.check(problem, THETA0, lr=0.1, times=[0.5], members=2, joined=1 << 31)
