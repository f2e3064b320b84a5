"""What shells offer when Tab is pressed: asked as bash, zsh and fish ask it, through environment variables."""

from __future__ import annotations

import typing

import pytest
from click.shell_completion import ShellComplete

from simdrop import activations, cli, study
from simdrop.data import NAMES
from simdrop.problem.problem import OUTPUT_SCALES
from simdrop.reproduce import experiments
from simdrop.study.predictions import PREDICTIONS, PredictionKind
from simdrop.theory.flows.table import FlowKind, flows
from simdrop_kernels import registry


def offered(*words: str, incomplete: str = "") -> list[str]:
    """What Tab offers after these words."""
    found = ShellComplete(cli.cli, {}, "simdrop", "_SIMDROP_COMPLETE").get_completions(list(words), incomplete)
    return [item.value if item.type == "plain" else item.type for item in found]


def test_values_of_flags() -> None:
    assert offered("compare", "--activation") == list(activations.names())
    assert offered("compare", "--mask", incomplete="s") == ["step", "sample"]
    assert offered("order", "--kinds", incomplete="path") == ["pathwise-plain", "pathwise"]
    assert offered("compare", "--kinds", incomplete="path") == []  # which compares means
    assert offered("order", "--backend", incomplete="n") == ["native", "numba", "numpy"]
    assert offered("compare", "--data") == [*NAMES, "file"]
    assert offered("compare", "--config") == ["file"]
    assert offered("compare", "--out") == ["dir"]
    assert offered("compare", "--steps") == []


def test_commands_flags_and_arguments() -> None:
    assert {"compare", "order", "reproduce", "sweep", "show", "bench", "info"} <= set(offered())
    assert offered("compare", incomplete="--keep") == ["--keep-prob"]
    assert offered("reproduce", "r1", incomplete="s") == [name for name in experiments() if name.startswith("s")]
    assert offered("show") == ["dir"]
    assert offered("sweep") == ["file"]


def test_the_shell_gets_its_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {
        "_SIMDROP_COMPLETE": "bash_complete",
        "COMP_WORDS": "simdrop compare --loss ",
        "COMP_CWORD": "3",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.run([])
    assert "plain,softmax" in capsys.readouterr().out.split()


def test_literals_and_offers_name_what_there_is() -> None:
    """The types that editors complete from, and the words of flags, against the tables that programs read."""
    assert set(typing.get_args(FlowKind)) == set(flows())
    assert set(typing.get_args(PredictionKind)) == set(PREDICTIONS) == set(study.PREDICTIONS)
    assert set(typing.get_args(registry.BackendName)) == {"auto", *registry.names()}
    assert set(typing.get_args(activations.ActivationName)) <= set(activations.names())
    assert set(typing.get_args(activations.ActivationName)) >= {"tanh", "relu", "erf"}
    assert set(offered("compare", "--output-scale")) == set(OUTPUT_SCALES)
    assert set(offered("compare", "--backend")) == {"auto", *registry.names()}
