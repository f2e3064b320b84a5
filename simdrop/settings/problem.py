"""Settings of a problem: its data, network and dropout, as commands and sweeps spell them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..problem.defaults import KEEP_PROB, OUTPUT_SCALE
from .fields import SEED, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data import Data
    from ..problem import Problem


#: samples on which a network is tried before it is trained
TRIED = 1000

DATA = "Data"
_data = partial(setting, section=DATA)
_network = partial(setting, section="Network and dropout")


@dataclass(frozen=True, kw_only=True, slots=True)  # a sweep may have very many
class ProblemSettings:
    """Settings of all commands that study one problem: its data, its network and their start."""

    data: str = _data(
        "condensation",
        "a built-in problem (condensation, relu-fit, sin), real data (diabetes, digits), a table (FILE.csv, .tsv, .txt,"
        " also .gz) or FILE.npz with arrays x and y",
    )
    target: tuple[str, ...] = _data((), "column of FILE.csv to predict; repeat for several")
    inputs: tuple[str, ...] = _data((), "column of FILE.csv to predict from; repeat for several [default: all others]")
    missing: str = _data(
        "refuse", "a table with empty cells is refused, or drop the rows that have some", choices=":refuse,drop"
    )
    categories: str = _data(
        "refuse", "columns of text are refused, or one-hot: 0 and 1 for each text", choices=":refuse,one-hot"
    )
    header: bool | None = _data(
        None, "whether the first line of a table names its columns; without, they are 1, 2, ... [default: it must]"
    )
    samples: int | None = _data(None, "use this number of rows from the top of the data", bounds={"least": 1})
    standardize: bool = _data(False, "shift and scale every input to mean 0 and variance 1")
    standardize_targets: bool = _data(False, "the same for the targets")
    width: int = _network(50, "number m of hidden neurons", bounds={"least": 1, "most": 1 << 30})
    keep_prob: float = _network(KEEP_PROB, "probability p that a neuron is kept (PyTorch's p is 1 minus this)")
    activation: str = _network(
        "tanh", "activation of the neurons", choices="simdrop_kernels.mathematics.activations.table:ACTIVATIONS"
    )
    mask: str = _network(
        "step", "one mask per step, or one for each sample of a step", choices="simdrop_kernels.contract.network:MASKS"
    )
    bias: bool = _network(True, "give each neuron a bias")
    train: str = _network("both", "the weights that are trained", choices="simdrop_kernels.contract.network:TRAINS")
    weight_decay: float = _network(0.0, "λ of (λ/2)|θ|² in every loss that is trained", bounds={"least": 0})
    loss: str = _network(
        "squared", "loss of a sample; logistic takes targets 0 and 1, the softmax ones numbers of classes",
        choices="simdrop_kernels.mathematics.losses.table:LOSSES",
    )  # fmt: skip
    output_scale: float | str = _network(OUTPUT_SCALE, "factor of the output: a number, 1/sqrt(m) or 1/m")
    init_seed: int = _network(0, "seed of the initial parameters, the same for all members", bounds=SEED)
    init_scale: float = _network(1.0, "standard deviation of the initial parameters", bounds={"least": 0})
    init_gamma: float = _network(0.0, "divides their variance by m^gamma (the papers: 0.2)")


def problem_of(settings: ProblemSettings) -> tuple[Problem, Data]:
    """The problem of `settings`, with its data."""
    data = data_of(settings)
    return problem_on(data, settings), data


def data_of(settings: ProblemSettings) -> Data:
    """The data of `settings`; raises InvalidInput."""
    from ..data import load
    from ..data.given import Given
    from ..data.samples import first, standardized

    if isinstance(settings.data, Given):
        data = settings.data.data()
        data = data if settings.samples is None else first(data, settings.samples)
        return standardized(data, inputs=settings.standardize, targets=settings.standardize_targets)
    return load(
        settings.data,
        target=settings.target,
        inputs=settings.inputs,
        samples=settings.samples,
        standardize=settings.standardize,
        standardize_targets=settings.standardize_targets,
        missing=settings.missing,  # type: ignore[arg-type]  # load checks it
        categories=settings.categories,  # type: ignore[arg-type]  # load checks it
        header=settings.header,
    )


def test_of(settings: ProblemSettings, name: str | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The samples (x, y) of a test set, shifted and scaled as the data are, None without; raises InvalidInput."""
    from dataclasses import replace

    from ..data.samples import standardized_like

    if name is None:
        return None
    plain = replace(settings, standardize=False, standardize_targets=False)
    try:
        test = data_of(replace(plain, data=name, samples=None))
    except InvalidInput as error:
        raise InvalidInput(f"test: {error}") from None
    if settings.standardize or settings.standardize_targets:
        train = data_of(plain)
        if (test.inputs, test.targets) != (train.inputs, train.targets):
            raise InvalidInput(
                f"test: {name!r} has other columns than the data: {', '.join(test.inputs + test.targets)}"
            )
        test = standardized_like(test, train, inputs=settings.standardize, targets=settings.standardize_targets)
    return test.x, test.y


def problem_on(data: Data, settings: ProblemSettings) -> Problem:
    """The problem of `settings` on data that were read before."""
    from ..problem import Problem

    return Problem(
        data.x,
        data.y,
        width=settings.width,
        keep_prob=settings.keep_prob,
        activation=settings.activation,
        mask=settings.mask,  # type: ignore[arg-type]  # Problem checks it
        bias=settings.bias,
        output_scale=settings.output_scale,
        train=settings.train,  # type: ignore[arg-type]  # Problem checks it
        weight_decay=settings.weight_decay,
        loss=settings.loss,  # type: ignore[arg-type]  # Problem checks it
    )


def start_of(problem: Problem, settings: ProblemSettings) -> NDArray[np.float64]:
    """The initial parameters of all members; raises InvalidInput, also where its risk is too large a number."""
    import numpy as np

    whole = False
    with np.errstate(over="ignore", invalid="ignore"), suppress(OverflowError):
        try:
            theta0 = problem.init(seed=settings.init_seed, scale=settings.init_scale, gamma=settings.init_gamma)
        except InvalidInput as error:
            raise (InvalidInput(f"init_{error}") if str(error).startswith("gamma") else error) from None
        if np.isfinite(theta0).all():
            residual = problem.predict(theta0, problem.x[:TRIED]) - problem.y[:TRIED]
            whole = bool(np.isfinite(np.square(residual, dtype=getattr(settings, "dtype", "float64")).sum()))
    if not whole:
        scale = f"init_scale {settings.init_scale:g}, init_gamma {settings.init_gamma:g}"
        scale += f" and output_scale {problem.scale:g}"
        raise InvalidInput(f"{scale} make a network whose risk is too large a number before any step")
    return theta0
