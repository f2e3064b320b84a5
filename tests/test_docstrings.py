"""The docstrings of what users open: their format, that they name every parameter, that their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import simdrop

#: modules whose `__all__` is public; what is in several of them is looked at once
MODULES = (
    "simdrop",
    "simdrop.activations",
    "simdrop.data",
    "simdrop.errors",
    "simdrop.plots",
    "simdrop.reproduce",
    "simdrop.scale",
    "simdrop.schedule",
    "simdrop.study",
    "simdrop.theory",
)
#: what has a runnable example
WITH_EXAMPLE = (
    "Noise", "Problem", "Problem.export_weights", "Problem.import_weights", "Problem.init", "Problem.predict",
    "Problem.probabilities", "activations.register", "compare", "flow", "masks", "simulate", "sme", "data.load",
    "plots.distance", "reproduce.experiments", "scale.design", "schedule.cosine", "schedule.exponential",
    "schedule.of_steps", "schedule.parse", "schedule.piecewise", "schedule.power", "schedule.warmup", "study.order",
    "theory.Quadratic", "theory.covariance_product", "theory.dropout_gradient", "theory.gradient", "theory.hessian",
    "theory.hessian_operator", "theory.hessian_product", "theory.hessian_trace", "theory.limit_point",
    "theory.linear_moments", "theory.linear_optimum", "theory.loss", "theory.manifold_paths",
    "theory.mean_gradient", "theory.mean_output", "theory.mean_risk", "theory.modified_loss",
    "theory.noise_covariance", "theory.r1", "theory.r2", "theory.risk", "theory.second_moment",
    "theory.stability_threshold", "theory.stationary_moments",
)  # fmt: skip
WRAPPED = (classmethod, property)
SECTIONS = ("Parameters", "Returns", "Yields", "Raises", "Warns", "Attributes", "See Also", "Notes", "Examples")


def public() -> Iterator[tuple[str, Any]]:
    """Public functions, classes, and the public methods and properties of these classes, by name."""
    seen: set[int] = set()
    for module in map(importlib.import_module, MODULES):
        names = getattr(module, "__all__", None) or [name for name in vars(module) if name[:1].isupper()]
        for name in names:
            value = getattr(module, name)
            if not callable(value) or id(value) in seen or not value.__module__.startswith("simdrop."):
                continue
            seen.add(id(value))
            full = f"{module.__name__}.{name}".removeprefix("simdrop.")
            yield full, value
            for inner, member in _members(value).items() if inspect.isclass(value) else ():
                own = inspect.isfunction(member) and member.__name__ == inner  # no function that is a default
                if not inner.startswith("_") and (own or isinstance(member, WRAPPED)):
                    yield f"{full}.{inner}", member.__func__ if isinstance(member, classmethod) else member


def _members(kind: type) -> dict[str, Any]:
    """What a class and those of ours that it derives from define."""
    ours = (base for base in reversed(kind.__mro__) if base.__module__.startswith("simdrop."))
    return {name: member for base in ours for name, member in vars(base).items()}


PUBLIC = dict(public())


def sections(text: str) -> dict[str, str]:
    """The sections of a docstring by their titles; what stands before them under ""."""
    parts = re.split(r"^(\w[\w ]*)\n(-{3,})$", inspect.cleandoc(text), flags=re.MULTILINE)
    assert all(len(title) == len(line) for title, line in zip(parts[1::3], parts[2::3], strict=True))
    return {"": parts[0]} | dict(zip(parts[1::3], parts[3::3], strict=True))


def named(section: str) -> list[str]:
    """The parameters that a section describes, in order; each is `name : type` over an indented description."""
    blocks = re.split(r"\n(?=\S)", section.strip("\n"))
    for block in blocks:
        assert re.search(r"\n    \S", block), f"{block!r} has no description"
    heads = [block.split("\n")[0] for block in blocks]
    return [name.strip("* ") for head in heads for name in head.split(" : ")[0].split(",")]


@pytest.mark.parametrize("name", PUBLIC)
def test_format(name: str) -> None:
    value = PUBLIC[name]
    text = value.__doc__
    assert text, "no docstring"
    found = sections(text)
    assert list(found)[1:] == [title for title in SECTIONS if title in found]  # known ones, in the usual order
    summary = found[""].strip().split("\n\n")[0]
    assert summary.endswith((".", ":")), summary
    assert "\n" not in summary or isinstance(value, property), "the summary is one line"
    if isinstance(value, property):
        return
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    taken = [p for p in inspect.signature(value).parameters if p not in {"self", "cls"}]
    if inspect.isclass(value) and "Attributes" in found:
        assert set(taken) <= set(named(found["Attributes"]))
    else:
        assert sorted(named(found["Parameters"]) if "Parameters" in found else []) == sorted(taken)
    returned = inspect.signature(value).return_annotation
    if taken and not inspect.isclass(value) and returned not in {None, "None"}:
        assert {"Returns", "Yields"} & found.keys()  # without arguments, one sentence says it


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_has_an_example(name: str) -> None:
    assert ">>> " in sections(PUBLIC[name].__doc__)["Examples"]


EXAMPLES = {name: value for name, value in PUBLIC.items() if ">>> " in (value.__doc__ or "")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    example = doctest.DocTestParser().get_doctest(
        EXAMPLES[name].__doc__, {"np": np, "simdrop": simdrop}, name, None, None
    )
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.attempted
    assert not result.failed, capsys.readouterr().out


#: options of `simulate` that add variables, by what cannot be had together
OPTIONS: dict[str, dict[str, Any]] = {
    "each member its own": {
        "lr": [0.1, 0.2, 0.3, 0.4], "keep_prob": [0.4, 0.5, 0.6, 0.7], "seed": [0, 1, 2, 3], "keep_theta": [1],
        "grid": [0.5], "covariance": True, "norms": True, "groups": 2,
    },
    "what came later": {
        "lr": {0: 0.1, 1: 0.2}, "members": 4, "optimizer": "momentum", "test": ([0.5], [1]), "keep_state": True,
        "observe": {"NAME": lambda problem, theta: theta}, "keep_theta": True, "stop": lambda now: False,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_simulate_describes_all_that_it_returns(options: dict[str, Any]) -> None:
    loss = "logistic" if "test" in options else "squared"
    problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=2, keep_prob=0.5, loss=loss)
    runs = simdrop.simulate(problem, np.zeros(problem.n_params), steps=2, backend="numpy", **options)
    returned = sections(simdrop.simulate.__doc__ or "")["Returns"]
    heads = [line.strip() for line in returned.split("\n") if re.match(r"    \S", line)]
    described = {word for head in heads if not head.endswith(".") for word in re.findall(r"\w+", head)}
    assert {*runs.data_vars, *runs.coords, *runs.dims} - described - {"kept", "group", "moment"} == set()
    assert {"kept", "group", "moment", "time"} <= set(re.findall(r"\w+", returned))


@pytest.mark.parametrize("kind", ["modified", "mean-covariance"])
def test_flow_describes_all_that_it_returns(kind: str) -> None:
    problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=2, keep_prob=0.5)
    found = simdrop.flow(problem, problem.init(), lr=0.1, times=[0.0, 0.1], kind=kind)
    described = set(re.findall(r"\w+", sections(simdrop.flow.__doc__ or "")["Returns"]))
    assert {*map(str, found.data_vars), *map(str, found.coords), *map(str, found.dims)} <= described


def test_what_is_wrong_is_found() -> None:
    wrong = "Do it.\n\nParameters\n----------\nx : float\n    A number.\ny, z : int\n    Others.\n"
    assert named(sections(wrong)["Parameters"]) == ["x", "y", "z"]
    with pytest.raises(AssertionError, match="no description"):
        named(sections("Do it.\n\nParameters\n----------\nx : a number\n")["Parameters"])
