"""Optimizers, weight decay and schedules against those of PyTorch under the same masks, and epochs against a replay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import schedule
from simdrop.errors import InvalidInput
from simdrop_kernels import registry
from simdrop_kernels.mathematics import rng

STEPS, WIDTH, KEEP = 200, 6, 0.8
BACKENDS = ["numpy", "native", pytest.param("numba", marks=pytest.mark.slow)]

#: name -> PyTorch's optimizer with its options, and the same for `simulate`
OPTIMIZERS: dict[str, Any] = {
    "sgd": ("SGD", {}, "sgd", {}),
    "momentum": ("SGD", {"momentum": 0.7}, "momentum", {"momentum": 0.7}),
    "nesterov": ("SGD", {"momentum": 0.7, "nesterov": True}, "nesterov", {"momentum": 0.7}),
    "adam": ("Adam", {"eps": 1e-6}, "adam", {"epsilon": 1e-6}),
    "adamw": ("AdamW", {"eps": 1e-6}, "adam", {"epsilon": 1e-6, "decoupled": True}),
}
#: name -> PyTorch's scheduler of an optimizer, and the same for `simulate`; all begin at 0.05
SCHEDULES: dict[str, Any] = {
    "pieces": (
        lambda lrs, o: lrs.MultiStepLR(o, [50, 120], gamma=0.1),
        {0: 0.05, 50: 0.005, 120: 0.0005},
    ),
    "cosine": (
        lambda lrs, o: lrs.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.001),
        schedule.cosine(0.05, steps=STEPS, final=0.001),
    ),
    "exponential": (lambda lrs, o: lrs.ExponentialLR(o, 0.99), schedule.exponential(0.05, factor=0.99)),
    "warm-up": (
        lambda lrs, o: lrs.SequentialLR(
            o, [lrs.LinearLR(o, 0.2, total_iters=40), lrs.ExponentialLR(o, 0.98)], milestones=[40]
        ),
        schedule.warmup(schedule.exponential(0.05, factor=0.98), steps=40, start=0.2),
    ),
    "power": (
        lambda lrs, o: lrs.LambdaLR(o, lambda t: (1 + t / 30) ** -0.75),
        schedule.power(0.05, exponent=0.75, scale=30),
    ),
}


def problem_of(decay: float, mask: Any = "step") -> simdrop.Problem:
    x = np.linspace(-1, 1, 8)
    return simdrop.Problem(x, np.sin(3 * x), width=WIDTH, keep_prob=KEEP, mask=mask, weight_decay=decay)


def trained_by_torch(torch: Any, problem: simdrop.Problem, theta0: Any, optimizer: Any, scheduler: Any) -> Any:
    """theta (P,) of member 3 after STEPS steps of PyTorch under the masks of seed 5."""
    a, w = (torch.tensor(part.copy(), requires_grad=True) for part in problem.split(theta0))
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)
    kind, options, _, _ = optimizer
    stepping = getattr(torch.optim, kind)([a, w], lr=0.05, weight_decay=problem.weight_decay, **options)
    plan = scheduler(torch.optim.lr_scheduler, stepping)
    samples = problem.n_samples if problem.mask == "sample" else None
    for step in range(STEPS):
        kept = simdrop.masks(seed=5, member=3, step=step, width=WIDTH, keep_prob=KEEP, samples=samples)
        outputs = (torch.tanh(x @ w.T) * torch.tensor(kept / KEEP)) @ a.T
        loss = ((outputs - y) ** 2).sum() / (2 * len(x))
        stepping.zero_grad()
        loss.backward()
        stepping.step()
        plan.step()
    return problem.join(a.detach().numpy(), w.detach().numpy())


def ours(problem: simdrop.Problem, theta0: Any, optimizer: Any, lr: Any, backend: str) -> Any:
    if reason := registry.load(backend).unavailable():
        pytest.skip(reason)
    _, _, name, options = optimizer
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=STEPS, numbers=[3], seed=5, members=1, optimizer=name, optimizer_options=options,
        record=2, keep_theta=True, backend=backend, threads=1,
    )  # fmt: skip
    return runs.theta.values[-1, 0]


@pytest.mark.peer
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decay", [0.0, 0.03])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_with_weight_decay_are_those_of_pytorch(name: str, decay: float, backend: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch's optimizers are the independent ones here")
    if name == "adamw" and not decay:
        pytest.skip("AdamW without weight decay is Adam")
    problem = problem_of(decay, mask="sample" if name == "nesterov" else "step")
    theta0 = problem.init(seed=1)
    scheduler, lr = SCHEDULES["pieces"]
    expected = trained_by_torch(torch, problem, theta0, OPTIMIZERS[name], scheduler)
    np.testing.assert_allclose(ours(problem, theta0, OPTIMIZERS[name], lr, backend), expected, rtol=0, atol=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch's schedulers are the independent ones here")
    problem = problem_of(0.03)
    theta0 = problem.init(seed=1)
    scheduler, lr = SCHEDULES[name]
    expected = trained_by_torch(torch, problem, theta0, OPTIMIZERS["nesterov"], scheduler)
    for backend in ("numpy", "native"):
        found = ours(problem, theta0, OPTIMIZERS["nesterov"], lr, backend)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def epochs_by_hand(problem: simdrop.Problem, theta: Any, rates: Any, batch: int, *, seed: int, member: int) -> Any:
    """theta after SGD under public masks, the samples of each epoch in the order of a Fisher-Yates shuffle."""
    n = problem.n_samples
    for step, rate in enumerate(rates):
        epoch, place = divmod(step, n // batch)
        words = rng.words(rng.STREAM_BATCH, n, 0, epoch, member, seed)
        order = list(range(n))
        for b in range(n):
            other = b + (int(words[b]) * (n - b) >> 32)
            order[b], order[other] = order[other], order[b]
        chosen = order[place * batch : (place + 1) * batch]
        kept = simdrop.masks(seed=seed, member=member, step=step, width=problem.width, keep_prob=problem.keep_prob)
        part = simdrop.Problem(problem.x[chosen], problem.y[chosen], width=problem.width, keep_prob=problem.keep_prob)
        gradient = simdrop.theory.dropout_gradient(part, theta, kept)
        theta = theta - rate * (gradient + problem.weight_decay * theta)
    return theta


@pytest.mark.parametrize("backend", BACKENDS)
def test_epochs_are_a_replay_by_hand(backend: str) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(reason)
    problem, lr = problem_of(0.03), schedule.power(np.array([0.05, 0.02]), exponent=0.5)
    theta0 = problem.init(seed=1)
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=30, members=2, seed=9, noise=simdrop.Noise(order="epochs", batch_size=2),
        record=[7, 18], keep_theta=True, backend=backend,
    )  # fmt: skip
    for member in range(2):
        rates = lr.rates(0, 30)[member]
        for k, step in enumerate(runs.step.values):
            expected = epochs_by_hand(problem, theta0, rates[:step], 2, seed=9, member=member)
            np.testing.assert_allclose(runs.theta.values[k, member], expected, rtol=0, atol=1e-12)


def test_every_sample_comes_once_an_epoch() -> None:
    n = 8
    problem = simdrop.Problem(
        np.eye(n), np.ones(n), width=n, keep_prob=1.0, activation="linear", bias=False, train="output"
    )
    theta0 = problem.join(np.zeros((1, n)), np.eye(n))  # a_j moves when sample j is in the batch, and then alone
    for batch in (1, 2, 4):
        runs = simdrop.simulate(
            problem, theta0, lr=0.01, steps=3 * n // batch, members=50, batch_size=batch,
            noise=simdrop.Noise(order="epochs"), record=[n // batch], keep_theta=True, backend="numpy",
        )  # fmt: skip
        moved = runs.theta.values[1:, :, :n]
        np.testing.assert_allclose(moved[0], 0.01 / batch, rtol=1e-12)
        assert len({tuple(np.argsort(one)) for one in moved[1].round(12)}) <= 2  # all of a member are alike again
        theirs = simdrop.simulate(
            problem, theta0, lr=0.01, steps=n // batch, members=50, batch_size=batch, record=2, keep_theta=True,
            backend="numpy",
        )  # fmt: skip
        assert (theirs.theta.values[-1, :, :n] == 0).any()  # independent minibatches leave some out


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: {"noise": simdrop.Noise(order="epochs")}, "needs a batch_size below the 8 samples"),
    "share": (lambda: {"noise": simdrop.Noise(order="epochs", batch_size=3)}, "divides the 8 samples"),
    "replaced": (lambda: {"noise": simdrop.Noise(order="epochs", batch_size=2, replace=True)}, "leave out replace"),
    "svag": (lambda: {"noise": simdrop.Noise(order="epochs", batch_size=2), "svag": 2}, "svag weights two independent"),
    "order": (lambda: {"noise": simdrop.Noise(order="epoch")}, "did you mean 'epochs'"),
    "clip": (lambda: {"clip": 1.0}, "gradients are not clipped"),
    "clipnorm": (lambda: {"optimizer_options": {"clipnorm": 1.0}}, "gradients are not clipped"),
    "decay": (lambda: {"optimizer": "adam", "optimizer_options": {"weight_decay": 1.0}}, r"Problem\(..., weight_decay"),
    "decoupled": (lambda: {"optimizer": "adam", "optimizer_options": {"decoupled": 1}}, "must be True or False"),
    "no decay": (lambda: {"optimizer": "adam", "optimizer_options": {"decoupled": True}}, "weight_decay=0"),
    "function": (lambda: {"lr": lambda t: 0.1}, "of_steps"),
    "steps": (lambda: {"lr": np.full(20, 0.1)}, r"simdrop.schedule.of_steps"),
    "short": (lambda: {"lr": schedule.of_steps([0.1] * 19)}, "19 steps, the run has 20"),
    "zero": (lambda: {"lr": schedule.cosine(0.1, steps=10)}, "is 0 at step 19"),
    "members": (lambda: {"lr": {0: [0.1, 0.2], 5: [0.1] * 3}}, "different numbers of members"),
    "two": (lambda: {"lr": {0: [0.1, 0.2]}}, "given for 3 members"),
    "key": (lambda: {"lr": {0: 0.1, -1: 0.2}}, "whole steps, 0 or more, got -1"),
    "no start": (lambda: {"lr": {1: 0.1}}, "step 0"),
    "nan": (lambda: {"lr": {0: np.nan}}, "finite number"),
    "true": (lambda: {"lr": {0: 0.1, True: 0.2}}, "got True"),
    "text": (lambda: {"lr": {0: "0.1"}}, "text"),
    "half": (lambda: {"lr": {0: 0.1, 2.5: 0.2}}, "whole steps"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str) -> None:
    given, message = REFUSED[name]
    problem = problem_of(0.0)
    with pytest.raises(InvalidInput, match=message):
        simdrop.simulate(problem, problem.init(), **({"lr": 0.1} | given()), steps=20, members=3)


@pytest.mark.parametrize("decay", [-0.1, np.nan, "0.1", True])
def test_weight_decay_is_a_number_of_at_least_0(decay: Any) -> None:
    with pytest.raises(InvalidInput, match="weight_decay"):
        problem_of(decay)


def test_theory_refuses_epochs() -> None:
    problem, noise = problem_of(0.0), simdrop.Noise(order="epochs", batch_size=2)
    theta0 = problem.init()
    for call in (
        lambda: simdrop.theory.noise_covariance(problem, theta0, noise=noise),
        lambda: simdrop.sme(problem, theta0, lr=0.1, times=[1.0], members=2, noise=noise),
        lambda: simdrop.theory.linear_moments(
            simdrop.Problem(problem.x, problem.y, width=WIDTH, train="output"), theta0, lr=0.1, steps=2, noise=noise
        ),
    ):
        with pytest.raises(InvalidInput, match="correlated"):
            call()


def test_a_schedule_of_one_value_gives_the_bits_of_a_number(tmp_path: Any) -> None:
    problem = problem_of(0.0)
    theta0 = problem.init(seed=1)
    options: dict[str, Any] = {"steps": 40, "members": 3, "record": 5, "keep_theta": True, "backend": "numpy"}
    plain = simdrop.simulate(problem, theta0, lr=0.1, **options)
    for lr in ({0: 0.1}, {0: 0.1, 20: 0.1}, schedule.of_steps(np.full(40, 0.1)), {0: [0.1] * 3, 10: 0.1}):
        runs = simdrop.simulate(problem, theta0, lr=lr, **options)
        np.testing.assert_array_equal(runs.theta, plain.theta)
        if "time" in runs.coords:
            np.testing.assert_allclose(runs.time, plain.time, rtol=1e-14)


def test_schedules_are_values() -> None:
    for one, other in (
        (schedule.cosine(0.1, steps=5), schedule.cosine(0.1, steps=6)),
        (schedule.of_steps([0.1, 0.2]), schedule.of_steps([0.1, 0.3])),
        (schedule.piecewise({0: [0.1, 0.2]}), schedule.piecewise({0: [0.1, 0.1]})),
        (schedule.warmup({0: 0.1}, steps=3), schedule.warmup({0: 0.2}, steps=3)),
    ):
        again = type(one)(one.values) if isinstance(one, schedule.of_steps) else one
        assert again == one != other
        assert hash(again) == hash(one)
        assert one.fingerprint() != other.fingerprint()
    for text in ("{0: 0.1, 5: 0.2}", "warmup(then=cosine(lr=0.1, steps=5, final=0.0), steps=2, start=0.5)"):
        assert str(schedule.parse(text)) == text
    for text in (
        "sin(3)",
        "lr",
        "[0.1]",
        "cosine(0.1)",
        "__import__('os')",
        "{0: 0.1",
        "-1",
        "power(0.1, exponent=-1)",
    ):
        with pytest.raises(InvalidInput):
            schedule.parse(text)
