"""Settings of a command: one dataclass, from which its flags, its TOML keys and its documentation derive.

Precedence, weakest first: the defaults here, the file of --config, each --set key=value, the flags.
"""

from __future__ import annotations

import importlib
import json
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import InvalidInput
from .values import coerce, known_name, read_toml, value_of, within
from .words import check_choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .data import Data
    from .problem import Problem

Settings = TypeVar("Settings")

#: the text for no risk_limit: TOML has no null
NO_LIMIT = "none"
#: samples on which a network is tried before it is trained
_TRIED = 1000


def setting(
    default: Any, about: str, *, section: str = "Settings", choices: str = "", bounds: Mapping[str, float] | None = None
) -> Any:
    """A field of a settings class: its default, its help, `module:NAME` of the names it may take.

    `bounds` are those of `checks.check_count` or `check_number`: least, most, above, below.
    """
    return field(
        default=default, metadata={"about": about, "section": section, "choices": choices, "bounds": bounds or {}}
    )


def replace_default(settings: type, name: str, default: Any) -> Any:
    """The field `name` of another settings class with another default."""
    return field(default=default, metadata=next(f.metadata for f in fields(settings) if f.name == name))


_data = partial(setting, section="Data")
_network = partial(setting, section="Network and dropout")
_training = partial(setting, section="Training")
_comparison = partial(setting, section="Comparison")
_measurement = partial(setting, section="Measurement")
_machine = partial(setting, section="Machine")
_output = partial(setting, section="Output")

#: bounds of counts: what masks can number, and what a machine may ever hold
SEED = {"least": 0, "most": (1 << 64) - 1}
_MEMBERS = {"least": 4, "most": 1 << 32}
STEPS = {"least": 1, "most": 1 << 32}
POINTS = {"least": 2, "most": 1_000_000}
_THREADS = {"least": 1, "most": 1 << 16}
RISK_LIMIT = {"least": 1}
ABOUT_RISK_LIMIT = "times the risk at the start, beyond which a network has blown up and leaves the means; or none"


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
    samples: int | None = _data(None, "use the first so many rows of the data only", bounds={"least": 1})
    standardize: bool = _data(False, "shift and scale every input to mean 0 and variance 1")
    standardize_targets: bool = _data(False, "the same for the targets")
    width: int = _network(50, "number m of hidden neurons", bounds={"least": 1, "most": 1 << 30})
    keep_prob: float = _network(0.5, "probability p that a neuron is kept (PyTorch's p is 1 minus this)")
    activation: str = _network("tanh", "activation of the neurons", choices="simdrop_kernels.activations:ACTIVATIONS")
    mask: str = _network(
        "step", "one mask per step, or one for each sample of a step", choices="simdrop_kernels.spec:MASKS"
    )
    bias: bool = _network(True, "give each neuron a bias")
    train: str = _network("both", "the weights that are trained", choices="simdrop_kernels.spec:TRAINS")
    output_scale: float | str = _network("1/sqrt(m)", "factor of the output: a number, 1/sqrt(m) or 1/m")
    init_seed: int = _network(0, "seed of the initial parameters, the same for all members", bounds=SEED)
    init_scale: float = _network(1.0, "standard deviation of the initial parameters", bounds={"least": 0})
    init_gamma: float = _network(0.0, "divides their variance by m^gamma (the papers: 0.2)")


@dataclass(frozen=True, kw_only=True)
class CompareSettings(ProblemSettings):
    """Settings of `simdrop compare`."""

    lr: float = _training(0.01, "learning rate", bounds={"above": 0})
    steps: int = _training(5000, "training steps of each member; time is lr x step", bounds=STEPS)
    members: int | None = _training(
        None,
        "networks in the ensemble: same start, different masks [default: 1000, on large data fewer, but at least 50]",
        bounds=_MEMBERS,
    )
    seed: int = _training(0, "seed of the masks", bounds=SEED)
    kinds: tuple[str, ...] = _comparison((), "flow to hold against the ensemble; repeat for several [default: all]")
    record: int = _comparison(50, "number of record times", bounds=POINTS)
    spacing: str = _comparison("even", "record times evenly or logarithmically spaced", choices=":even,log")
    grid: int | None = _comparison(
        None,
        "points at which functions are compared [default: 97 over the range of 1-D data, else up to 200 data points]",
        bounds=POINTS,
    )
    risk_limit: float | str = _comparison(1e8, ABOUT_RISK_LIMIT, bounds=RISK_LIMIT)
    groups: int | None = _comparison(
        None, "groups of members for standard errors [default: 20, or members if fewer]", bounds={"least": 3}
    )
    backend: str = _machine("auto", "kernels to run on; see `simdrop info`")
    dtype: str = _machine("float64", "floating-point type of the simulation", choices=":float64,float32")
    threads: int | None = _machine(None, "processor threads [default: all cores]", bounds=_THREADS)
    memory: int = _machine(512, "MiB for the networks trained at one time", bounds={"least": 1, "most": 1 << 30})
    out: str = _output("simdrop-compare", "folder for results, summary and figure")
    overwrite: bool = _output(False, "replace an earlier result in that folder")


@dataclass(frozen=True, kw_only=True)
class OrderSettings(ProblemSettings):
    """Settings of `simdrop order`: by default the small problem on which second order can be seen."""

    data: str = replace_default(ProblemSettings, "data", "sin")
    width: int = replace_default(ProblemSettings, "width", 5)
    keep_prob: float = replace_default(ProblemSettings, "keep_prob", 0.7)
    output_scale: float | str = replace_default(ProblemSettings, "output_scale", 1.0)
    init_seed: int = replace_default(ProblemSettings, "init_seed", 3)
    lrs: tuple[str, ...] = _comparison(
        (), "learning rate of the ladder, at least three [default: 0.2, halved down to 0.00625]"
    )
    time: float = _comparison(1.0, "time lr x step at which means are compared", bounds={"above": 0})
    members: int = _comparison(400_000, "networks of the ensemble at each learning rate", bounds=_MEMBERS)
    sme_members: int = _comparison(
        80_000, "paths of the stochastic modified equation of order 2 (1: a quarter)", bounds=_MEMBERS
    )
    paths: int = _comparison(24, "members that pathwise flows follow", bounds={"least": 3})
    theories: tuple[str, ...] = _comparison((), "theory to measure; repeat for several [default: all]")
    heat_map: bool = _comparison(False, "also map the errors over learning rate and keep_prob")
    grid: int | None = _comparison(None, "points at which functions are compared", bounds=POINTS)
    groups: int = _comparison(40, "groups of members for standard errors", bounds={"least": 3})
    risk_limit: float | str = _comparison(1e8, ABOUT_RISK_LIMIT, bounds=RISK_LIMIT)
    seed: int = _comparison(0, "seed of the masks", bounds=SEED)
    backend: str = _machine("auto", "kernels to run on; see `simdrop info`")
    threads: int | None = _machine(None, "processor threads [default: all cores]", bounds=_THREADS)
    out: str = _output("simdrop-order", "folder for results, summary and figures")
    overwrite: bool = _output(False, "replace an earlier result in that folder")


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """Settings of `simdrop reproduce`."""

    full: bool = _training(False, "the published sizes; tens of minutes for some, see --list")
    seeds: int | None = _training(
        None,
        "independent initialisations [default: the experiment's own, 3 to 10]",
        bounds={"least": 2, "most": 1_000_000},
    )
    mnist: str | None = _data(None, "folder with MNIST's IDX files [default: the 8x8 digits of scikit-learn]")
    backend: str = _machine("auto", "kernels to run on; see `simdrop info`")
    threads: int | None = _machine(None, "processor threads [default: all cores]", bounds=_THREADS)
    out: str = _output("simdrop-reproduce", "folder that gets a folder for each experiment")
    overwrite: bool = _output(False, "replace earlier results there")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of `simdrop bench`."""

    full: bool = _measurement(False, "all sizes, both masks and precisions; minutes rather than seconds")
    backends: tuple[str, ...] = _measurement((), "backend to measure; repeat for several [default: all that run here]")
    repeats: int = _measurement(5, "timings of every point", bounds={"least": 1, "most": 1_000_000})
    threads: int | None = _machine(None, "processor threads [default: all cores]", bounds=_THREADS)
    out: str = _output("simdrop-bench", "folder for summary and figure")
    overwrite: bool = _output(False, "replace an earlier result in that folder")


def problem_of(settings: ProblemSettings) -> tuple[Problem, Data]:
    """The problem of `settings`, with its data."""
    from .data import load
    from .problem import Problem

    data = load(
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
    problem = Problem(
        data.x,
        data.y,
        width=settings.width,
        keep_prob=settings.keep_prob,
        activation=settings.activation,
        mask=settings.mask,  # type: ignore[arg-type]  # Problem checks it
        bias=settings.bias,
        output_scale=settings.output_scale,
        train=settings.train,  # type: ignore[arg-type]  # Problem checks it
    )
    return problem, data


def risk_limit_of(value: float | str) -> float | None:
    """A setting `risk_limit` as the argument of `simulate`; raises InvalidInput."""
    if isinstance(value, str):
        check_choice("risk_limit", value, (NO_LIMIT, "a number"))
    return None if isinstance(value, str) else value


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
            residual = problem.predict(theta0, problem.x[:_TRIED]) - problem.y[:_TRIED]
            whole = bool(np.isfinite(np.square(residual, dtype=getattr(settings, "dtype", "float64")).sum()))
    if not whole:
        scale = f"init_scale {settings.init_scale:g}, init_gamma {settings.init_gamma:g}"
        scale += f" and output_scale {problem.scale:g}"
        raise InvalidInput(f"{scale} make a network whose risk is too large a number before any step")
    return theta0


def resolve(
    cls: type[Settings],
    flags: Mapping[str, Any],
    *,
    config: str | Path | None = None,
    assignments: Iterable[str] = (),
) -> Settings:
    """The settings from defaults, the TOML file `config`, `key=value` texts and flags, later ones winning.

    `flags` holds what was given on the command line, as text, bool or a list of texts; None was not given.
    Raises InvalidInput for an unknown key, with the nearest known one, or a value of the wrong type.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    chosen: dict[str, Any] = {}

    def take(name: str, value: Any, where: str) -> Any:
        return checked(coerce(value, hints[name], where), known[name], where)

    if config is not None:
        held: dict[str, Any] = {}
        for key, value in read_toml(config, "configuration").items():
            name = known_name(key, known, f"configuration key in {config}", held)
            held[name] = take(name, value, f"key {key!r} in {config}")
        chosen |= held
    assigned: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"--set takes key=value, got {text!r}")
        name = known_name(key.strip(), known, "configuration key in --set", assigned)
        assigned[name] = take(name, value_of(value.strip(), hints[name]), f"--set {key.strip()}")
    chosen |= assigned
    for name, value in flags.items():
        if value is not None and value != ():
            given = value if isinstance(value, (bool, tuple)) else value_of(value, hints[name])
            chosen[name] = take(name, given, flag_of(known[name]))
    return cls(**chosen)


def checked(value: Any, option: Field[Any], where: str) -> Any:
    """`value` where the bounds and choices of a field allow it; raises InvalidInput."""
    choices = choices_of(option) if isinstance(value, str) and not isinstance(option.default, float) else ()
    if choices:
        check_choice(option.name, value, choices)
    return within(value, option, where)


def as_toml(settings: Any) -> str:
    """The settings as a TOML file that `--config` reads back; what is None is left out."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    # JSON's numbers, texts, booleans and lists of texts are TOML's.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items() if value is not None)


def flag_of(option: Field[Any]) -> str:
    """The command-line flag of a field."""
    return "--" + option.name.replace("_", "-")


def choices_of(option: Field[Any]) -> tuple[str, ...]:
    """The names that a field may take, or () where there is no such list; may import a module."""
    module, _, name = option.metadata["choices"].partition(":")
    if module:
        return tuple(getattr(importlib.import_module(module), name))
    return tuple(name.split(",")) if name else ()


def default_text(option: Field[Any]) -> str:
    """The default of a field as the help shows it; empty where the help says it in words."""
    default = option.default
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "" if default is None or default == () or default is MISSING else f"{default}"
