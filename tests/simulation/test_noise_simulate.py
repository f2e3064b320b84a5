"""Steps of simulate() under every noise: sampled gradients against theory, backends, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE
from oracles import steps
from scipy.stats import norm

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.problem import Noise
from simdrop_kernels import registry
from simdrop_kernels.contract.step import BackendError, Ensemble
from simdrop_kernels.cpu.train import backend as parallel
from simdrop_kernels.reference import train as reference

MEMBERS = 20_000
#: probability that a test fails although what it tests is right
FALSE_ALARM = 1e-6


def _problem(**settings: Any) -> Any:
    rng = np.random.default_rng(11)
    known = {"width": 3, "keep_prob": 0.6, "output_scale": 0.8} | settings
    return simdrop.Problem(rng.standard_normal((4, 1)), rng.standard_normal((4, 1)), **known)


def _drawn(problem: Any, theta: Any, noise: Any, **options: Any) -> Any:
    """Gradients (M, P) of one step of the NumPy backend, by what a step with lr 1 moves."""
    runs = simdrop.simulate(
        problem, theta, lr=1.0, steps=1, members=MEMBERS, seed=8, noise=noise, record=[1], keep_theta=True,
        quantiles=(), backend="numpy", **options,
    )  # fmt: skip
    return theta - runs.theta.values[-1]


def _score(found: Any, mean: Any, covariance: Any) -> Any:
    """The largest deviation of means and covariances (M, P) -> P, P², in standard errors, and the bound for it."""
    spread = found - mean
    i, j = np.triu_indices(mean.size)
    products = spread[:, i] * spread[:, j]
    wanted = np.concatenate([np.zeros_like(mean), covariance[i, j]])
    seen = np.concatenate([spread, products], axis=1)
    error = seen.std(axis=0) / np.sqrt(len(found))
    rounding = 1e-12 * np.abs(found).max()  # where a parameter does not move at random at all
    worst = (np.abs(seen.mean(axis=0) - wanted) / (error + rounding)).max()
    return worst, norm.isf(FALSE_ALARM / (2 * wanted.size))


#: knobs, settings of the problem, knobs whose theory must be found wrong
KINDS = [
    ({}, {}, {"masks": 2}),
    ({}, {"mask": "sample"}, {"masks": 2}),
    ({"masks": 3}, {}, {"masks": 2}),
    ({"law": "gaussian"}, {}, {}),
    ({"law": "gaussian", "masks": 2}, {"mask": "sample"}, {"masks": 2}),
    ({"batch_size": 2}, {"keep_prob": 1.0}, {"batch_size": 2, "replace": True}),
    ({"batch_size": 2, "replace": True}, {"keep_prob": 1.0}, {"batch_size": 2}),
    ({"batch_size": 2, "masks": 2}, {"mask": "sample"}, {"masks": 2}),
    ({"label": 0.5}, {"keep_prob": 1.0}, {"label": 0.45}),
    ({"label": 0.5, "masks": 2}, {}, {"masks": 2}),
    ({"parameter": 0.5}, {}, {"parameter": 0.45}),
    ({"connect": 0.7}, {"keep_prob": 1.0}, {"connect": 0.75}),
    ({"connect": 0.7, "masks": 2, "batch_size": 3, "label": 0.3}, {}, {"connect": 0.7, "batch_size": 3, "label": 0.3}),
    ({"connect": 0.7, "part": "noise"}, {"mask": "sample"}, {"connect": 0.7}),
    ({"part": "noise", "law": "gaussian"}, {}, {"law": "gaussian"}),
    ({"masks": 2, "label": 0.3}, {"train": "input"}, {"label": 0.3}),
]


@pytest.mark.parametrize(("knobs", "settings", "wrong"), KINDS, ids=[f"{k} {s}" for k, s, _ in KINDS])
def test_sampled_gradients_have_the_mean_and_covariance_of_theory(knobs: Any, settings: Any, wrong: Any) -> None:
    problem = _problem(**settings)
    theta = problem.init(seed=2)
    found = _drawn(problem, theta, Noise(**knobs))
    for noise, right in ((Noise(**knobs), True), (Noise(**wrong), False)):
        mean = theory.mean_gradient(problem, theta, noise=noise)
        worst, bound = _score(found, mean, theory.noise_covariance(problem, theta, noise=noise))
        assert (worst < bound) == right, (worst, bound)


@pytest.mark.parametrize("order", [1, 4])
def test_svag_keeps_the_mean_and_has_l_times_the_covariance(order: Any) -> None:
    problem, noise = _problem(), Noise(batch_size=3, parameter=0.2)
    theta = problem.init(seed=2)
    found = order * _drawn(problem, theta, noise, svag=order)  # a step takes lr / l
    mean, covariance = (f(problem, theta, noise=noise) for f in (theory.mean_gradient, theory.noise_covariance))
    worst, bound = _score(found, mean, order * covariance)
    assert worst < bound
    assert _score(found, mean, (order + 0.2) * covariance)[0] > bound


@pytest.mark.slow
def test_svag_is_a_second_road_to_the_modified_equation() -> None:
    """At lr 0.2 the ensemble is far from its equation of order 1, and that of SVAG near it: no formula is shared.

    The standard errors of 20 000 members are about 0.005 in each mean vector; SVAG's own error is of order lr / l, that
    of the scheme of order lr² / substeps.
    """
    rng = np.random.default_rng(3)
    theta0 = np.concatenate([rng.standard_normal(5), rng.standard_normal(10)])
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    known = {"lr": 0.2, "members": 20_000, "backend": "numba", "quantiles": ()}
    equation = simdrop.sme(problem, theta0, times=[1.0], order=1, scheme="heun", substeps=8, seed=1, **known)
    distances: dict[str, list[Any]] = {"theta_mean": [], "theta_std": []}
    for order in (1, 32):
        runs = simdrop.simulate(problem, theta0, steps=5 * order, svag=order, seed=2, record=[5 * order], **known)
        np.testing.assert_allclose(runs.time[-1], 1.0)
        for name, found in distances.items():
            found.append(np.linalg.norm(runs[name].values[-1] - equation[name].values[-1]))
    for found in distances.values():
        assert found[0] > 0.25
        assert found[1] < 0.04


@pytest.mark.parametrize("noise", [Noise(part="drift", masks=2), Noise(part="drift", connect=0.7, label=0.3)])
def test_drift_is_the_mean_gradient(noise: Any) -> None:
    problem = _problem()
    theta = problem.init(seed=2)
    found = _drawn(problem, theta, noise)
    mean = theory.mean_gradient(problem, theta, noise=noise)
    np.testing.assert_allclose(found, np.broadcast_to(mean, found.shape), rtol=0, atol=1e-14)
    assert (theory.noise_covariance(problem, theta, noise=noise) == 0).all()


DRAWS = [
    (Noise(masks=2), {}),
    (Noise(law="gaussian"), {"mask": "sample"}),
    (Noise(batch_size=2, label=0.4, parameter=0.1), {"train": "output"}),
    (Noise(connect=0.7, label=0.4), {}),
]


@pytest.mark.parametrize(("noise", "settings"), DRAWS, ids=str)
def test_draws_of_theory_have_its_covariance(noise: Any, settings: Any) -> None:
    problem = _problem(**settings)
    theta = problem.init(seed=2)
    drawn = theory.StepNoise.at(problem, theta, noise).draw(np.random.default_rng(0), MEMBERS)
    covariance = theory.noise_covariance(problem, theta, noise=noise)
    worst, bound = _score(drawn, np.zeros_like(theta), covariance)
    assert worst < bound
    assert _score(drawn, np.zeros_like(theta), 1.1 * covariance)[0] > bound


THIN, WIDE = (7, 150, 2, 1), (6, 33, 4, 3)
KEEP = [0.3, 0.8, 1.0]  # one member each

STEPS = [
    (steps.make(masks=3), THIN),
    (steps.make(law="gaussian", label=0.2, parameter=0.1), THIN),
    (steps.make(law="gaussian", mask="sample", masks=2, batch_size=3), WIDE),
    (steps.make(connect=0.6, mask="sample", svag=4, batch_size=4, replace=True), WIDE),
    (steps.make(part="drift"), WIDE),
    (steps.make(part="noise", masks=2, svag=2), THIN),
    (steps.make(part="noise", mask="sample", batch_size=4, label=0.1), WIDE),
    (steps.make(part="drift", connect=0.7), WIDE),
    (steps.make(part="noise", connect=0.7, mask="sample", label=0.1), THIN),
    (steps.make(train="output"), THIN),
    (steps.make(train="input", objective="risk+r1", batch_size=3), WIDE),
    (steps.make(train="input", objective="risk"), THIN),
]


def _train(backend: Any, step: Any, shape: Any, *, dtype: Any = "float64", threads: Any = 2, chunk: Any = 100) -> Any:
    samples, width, inputs, outputs = shape
    random = np.random.default_rng(width)
    x, y = random.standard_normal((samples, inputs)), random.standard_normal((samples, outputs))
    theta = random.standard_normal((len(KEEP), width * (inputs + outputs))) / np.sqrt(width)
    ensemble = Ensemble.start(
        theta, moments=step.optimizer.moments, lr=[0.02, 0.02, 0.01], keep_prob=KEEP, first_member=5, dtype=dtype
    )
    for done in range(0, 100, chunk):
        count = min(chunk, 100 - done)
        data = x.astype(dtype), y.astype(dtype)
        backend.advance(step, *data, ensemble, seed=2**40 + 17, first_step=done, steps=count, threads=threads)
    return theta.astype(dtype), ensemble


def _agree(step: Any, shape: Any, dtype: Any = "float64") -> None:
    start, ours = _train(parallel, step, shape, dtype=dtype)
    _, theirs = _train(reference, step, shape, dtype=dtype)
    assert np.abs(theirs.theta - start).max() > 1e-3, "nothing moved: the comparison would be empty"
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs.theta).max())
    if ours.moments.size:
        largest = np.abs(theirs.moments).max()
        np.testing.assert_allclose(ours.moments, theirs.moments, rtol=0, atol=TOLERANCE[dtype] * largest)
    assert (ours.diverged == -1).all()


@pytest.mark.slow  # a minute to compile; the conformance tests compile it for the arrays that users have
@pytest.mark.parametrize(("step", "shape"), STEPS, ids=str)
def test_numba_agrees_with_numpy(step: Any, shape: Any) -> None:
    _agree(step, shape)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("step", "shape"), STEPS, ids=str)
def test_numba_agrees_with_numpy_in_single_precision(step: Any, shape: Any) -> None:
    _agree(step, shape, "float32")


@pytest.mark.exhaustive
def test_numba_agrees_for_another_optimizer_and_activation() -> None:  # a minute to compile
    step = steps.make(optimizer="adam", activation="gelu", masks=2, law="gaussian", label=0.1, train="input")
    _agree(step, WIDE)


@pytest.mark.slow
def test_threads_and_chunks_change_no_bit() -> None:
    step = steps.make(masks=2, mask="sample", batch_size=3, label=0.1, parameter=0.1, connect=0.6, svag=2)
    for backend in (parallel, reference):
        _, whole = _train(backend, step, WIDE, threads=1)
        for threads, chunk in ((2, 100), (1, 7)):
            _, other = _train(backend, step, WIDE, threads=threads, chunk=chunk)
            assert np.array_equal(whole.theta, other.theta)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [parallel, reference], ids=lambda b: b.name)
@pytest.mark.parametrize("train", ["output", "input"])
def test_frozen_weights_do_not_move_by_a_bit(backend: Any, train: Any) -> None:
    for optimizer in ("sgd", "adam") if backend is reference else ("sgd",):
        step = steps.make(optimizer=optimizer, train=train, parameter=0.3, label=0.1, masks=2)
        start, ensemble = _train(backend, step, WIDE)
        cut = WIDE[1] * WIDE[3]
        fixed, moved = (slice(cut, None), slice(cut)) if train == "output" else (slice(cut), slice(cut, None))
        assert ensemble.theta[:, fixed].tobytes() == start[:, fixed].tobytes()
        assert (ensemble.theta[:, moved] != start[:, moved]).all()


def test_masks_of_a_step_are_those_of_their_numbers() -> None:
    """The gradient with k masks is the mean of those under masks t k, ..., t k + k - 1."""
    problem = _problem()
    theta = problem.init(seed=2)
    runs = simdrop.simulate(
        problem, theta, lr=0.5, steps=2, members=2, seed=3, noise=Noise(masks=3), record=[1, 2], keep_theta=True,
        backend="numpy",
    )  # fmt: skip
    path = runs.theta.values[:, 1]
    known = {"seed": 3, "member": 1, "width": problem.width, "keep_prob": problem.keep_prob}
    gradients = [theory.dropout_gradient(problem, path[1], simdrop.masks(step=3 + r, **known)) for r in range(3)]
    np.testing.assert_allclose(path[2], path[1] - 0.5 * np.mean(gradients, axis=0), rtol=1e-12)


def test_the_default_noise_changes_no_bit() -> None:
    problem = _problem()
    theta, known = problem.init(seed=2), {"lr": 0.1, "steps": 5, "members": 3, "keep_theta": True, "backend": "numpy"}
    plain = simdrop.simulate(problem, theta, **known, batch_size=2)
    same = simdrop.simulate(problem, theta, **known, noise=Noise(batch_size=2))
    assert np.array_equal(plain.theta.values, same.theta.values)


def test_time_and_provenance() -> None:
    problem = _problem(train="input")
    noise = Noise(masks=2, law="gaussian", batch_size=3, label=0.1, parameter=0.2, connect=0.9)
    runs = simdrop.simulate(
        problem, problem.init(), lr=0.1, steps=8, members=2, noise=noise, svag=4, record=[4, 8], backend="numpy"
    )
    np.testing.assert_allclose(runs.time, [0, 0.1, 0.2])
    wanted = {
        "masks": 2, "law": "gaussian", "batch_size": 3, "label": 0.1, "parameter": 0.2, "connect": 0.9,
        "part": "both", "svag": 4, "train": "input", "lr": 0.1,
    }  # fmt: skip
    assert {name: runs.attrs[name] for name in wanted} == wanted


def test_backends_that_do_not_run_a_noise_say_so() -> None:
    problem = _problem()
    for name, noise, message in (
        ("native", Noise(connect=0.5), "connect other than the default|C extension was not built"),
        ("cuda", Noise(label=0.1), "cannot run this"),
    ):
        with pytest.raises(BackendError, match=message):
            simdrop.simulate(problem, problem.init(), lr=0.1, steps=1, members=1, noise=noise, backend=name)
    assert registry.choose("auto", steps.make(connect=0.5), np.dtype("float64"))[0].name == "numba"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Noise(masks=0), "masks must be a whole number of at least 1, got 0"),
        (lambda: Noise(law="gausian"), "unknown law 'gausian': did you mean 'gaussian'"),
        (lambda: Noise(part="noisy"), "unknown part 'noisy': did you mean 'noise'"),
        (lambda: Noise(label=-1.0), "label must be a standard deviation, 0 or more, got -1.0"),
        (lambda: Noise(parameter=np.inf), "parameter must be a finite number, got inf"),
        (lambda: Noise(connect=0.0), r"connect must lie in \(0, 1\]"),
        (lambda: _problem(train="outputs"), "unknown train 'outputs': did you mean 'output'"),
        (lambda: _simulate(noise="label"), "noise must be a simdrop.Noise or None, got 'label'"),
        (lambda: _simulate(noise=Noise(batch_size=2), batch_size=3), "given twice"),
        (lambda: _simulate(noise=Noise(batch_size=5)), "batch_size must be at most the 4 samples, got 5"),
        (lambda: _simulate(replace=True), "replace=True needs a batch_size"),
        (lambda: _simulate(noise=Noise(label=0.1), objective="risk"), "belongs to objective 'dropout', got 'risk'"),
        (lambda: _simulate(svag=0), "svag must be a whole number of at least 1, got 0"),
        (lambda: _simulate(svag=2, objective="risk"), "svag needs objective 'dropout'"),
        (lambda: _simulate(svag=2, optimizer="adam"), "svag needs optimizer 'sgd', got 'adam'"),
        (lambda: _simulate(svag=2, noise=Noise(part="drift")), "svag needs noise"),
        (lambda: _simulate(batch_size=2**31, replace=True), "at most 1073741824 where it is drawn, got 2147483648"),
        (lambda: _simulate(noise=Noise(masks=2**30), steps=5), r"steps · masks of a step must be at most 2\*\*32"),
        (lambda: theory.mean_gradient(_many(), _many().init(), noise=Noise(connect=0.5)), r"2\^14 masks"),
        (lambda: theory.noise_covariance(_many(), _many().init(), noise=Noise(connect=0.5)), "at most 12 inputs"),
        (lambda: theory.loss(_many(), _many().init(), objective="r1", noise=Noise(connect=0.5)), "at most 12 inputs"),
        (
            lambda: simdrop.simulate(
                _many(), _many().init(), lr=1, steps=1, members=1, noise=Noise(connect=0.5, part="noise")
            ),
            "part 'noise' needs the mean over DropConnect's masks",
        ),
        (
            lambda: theory.gradient(_problem(), _problem().init(), objective="r2", lr=0.1, noise=Noise(connect=0.5)),
            "gradient of R_2 is not known under DropConnect",
        ),
        (
            lambda: theory.loss(_problem(), _problem().init(), objective="r1", noise=Noise(part="noise")),
            "part 'noise' has no R_1",
        ),
    ],
)
def test_bad_input(call: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def _simulate(*, steps: Any = 1, **options: Any) -> Any:
    problem = _problem()
    return simdrop.simulate(problem, problem.init(), lr=0.1, steps=steps, members=2, **options)


def _many() -> Any:
    return simdrop.Problem(np.ones((2, 13)), np.ones(2), width=2)
