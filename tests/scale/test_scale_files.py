"""Sweep files that are wrong: one line that names the file and what is wrong in it, before any folder is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simdrop import cli, scale
from simdrop.errors import InvalidInput

HEAD = '[problem]\ndata = "sin"\n[simulate]\nsteps = 3\nmembers = 24\nbackend = "numpy"\n'
RANDOM = 'design = "random"\ncount = 3\n'


def _sweep(text: Any) -> Any:
    return (HEAD + "[sweep]\n" + text).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_sweep("lr = [0.1]").decode().encode("utf-16"), "is UTF-16: TOML files are UTF-8"),
        (b"# \xe9\n", r"is not text in UTF-8 \(line 1\)"),
        (b"a = " + b"[" * 5000, "is not valid TOML: it is nested too deeply"),
        (b"a = " + b"9" * 5000, "is not valid TOML: .*4300 digits"),
        (b"sweep = 3", r"\[sweep\] must be a table, got 3"),
        (b"[sweep]\nlr = {}", r"\[sweep\] lr: from is missing, as in \{from, to, count\}"),
        (_sweep("lr = { from = 0, to = 1 }"), r"\[sweep\] lr: count is missing"),
        (_sweep("lr = { from = 0.1, to = 1, count = 0 }"), "lr: count must be a whole number of at least 1, got 0"),
        (_sweep("lr = { from = 0.1, to = 1, count = '3' }"), "lr: count must be a whole number of at least 1, got '3'"),
        (_sweep("lr = { from = 0.1, to = 1, count = 1000000000000 }"), "lr: count must be at most 1000000"),
        (_sweep("lr = { from = nan, to = 1, count = 3 }"), "lr: from must be a finite number, got nan"),
        (_sweep("lr = { from = -1e308, to = 1e308, count = 3 }"), "lr: from and to are too far apart"),
        (_sweep("lr = { from = -1, to = 1, count = 3 }"), r"\[sweep\] lr must be positive, got -1.0"),
        (_sweep("lr = { from = 1, to = 2, count = 3, step = 1 }"), "unknown key of .* lr 'step'"),
        (_sweep("lr = { from = 1, to = 2, count = 3, spacing = 1 }"), "unknown spacing of .* lr 1"),
        (_sweep(RANDOM + "lr = { low = 1, high = 0.1 }"), "lr: low must be at most high, got 1.0 and 0.1"),
        (_sweep(RANDOM + "lr = { low = 0, high = 1, spacing = 'log' }"), "a logarithmic spacing needs positive ends"),
        (_sweep(RANDOM + "lr = { low = 0.1 }"), "lr: high is missing"),
        (_sweep(RANDOM + "lr = []"), "lr must be a list to choose from"),
        (_sweep(RANDOM + "width = { low = 2, high = 9 }"), "width takes no fractions: give a list"),
        (_sweep(RANDOM + "draw_seed = -1\nlr = [0.1]"), "draw_seed must be a whole number of at least 0, got -1"),
        (_sweep("design = 3\nlr = [0.1]"), "unknown design in .* 3"),
        (_sweep("lr = [0.1, 0.1]"), "lr has 0.1 more than once"),
        (_sweep("keep-prob = [0.5]\nkeep_prob = [0.5]"), "gives keep_prob twice"),
        (_sweep("lr = [nan]"), r"\[sweep\] lr must be a finite number, got nan"),
        (_sweep("lr = [true]"), r"\[sweep\] lr must be a number or text, got True"),
        (_sweep("lr = [[0.1]]"), r"\[sweep\] lr must be a number or text, got \[0.1\]"),
        (_sweep("width = [4, 4.5]"), r"\[sweep\] width must be a whole number, got 4.5"),
        (_sweep("init_seed = [-1]"), r"\[sweep\] init_seed must be a whole number of at least 0, got -1"),
        (_sweep("seed = [1e30]"), r"\[sweep\] seed must be at most"),
        (_sweep("masks = [1e30]"), r"\[sweep\] masks must be at most 1000000"),
        (_sweep("label = ['a']"), r"\[sweep\] label must be a number, got 'a'"),
        (_sweep("keep_prob = [1.5]"), r"keep_prob must lie in \(0, 1\]"),
        (_sweep("batch_size = [9]"), "batch_size must be at most the 4 samples, got 9"),
        (_sweep("beta1 = [0.5]"), "unknown optimizer option 'beta1': sgd takes none"),
        (_sweep("activation = ['tahn']"), "unknown activation 'tahn': did you mean 'tanh'"),
        (
            _sweep("init_scale = [1e200]"),
            "init_scale 1e[+]200, init_gamma 0 and output_scale .* make a network whose risk is too large",
        ),
        (HEAD.replace("steps = 3", "steps = nan").encode(), r"\[simulate\] steps must be a whole number, got nan"),
        (HEAD.replace("steps = 3", "lr = 1\nl-r = 2").encode(), "unknown key of .*simulate.* 'l-r'"),
        (HEAD.replace("steps = 3", "batch-size = 2\nbatch_size = 2").encode(), "batch_size is given twice"),
    ],
)
def test_refused_in_one_line_before_any_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: Any
) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        scale.sweep(scale.read(file), out)
    assert cli.run(["sweep", str(file), "--out", str(out)]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("simdrop: error: ")
    assert error.count("\n") == 1
    assert str(file) in error
    assert not out.exists()


def test_a_grid_that_is_too_large_is_refused_with_its_size(tmp_path: Path) -> None:
    axes = {name: {"from": 0.1, "to": 0.9, "count": 10_000} for name in ("lr", "keep_prob", "init_gamma")}
    with pytest.raises(InvalidInput, match=r"makes 1e\+12 points, more than the 1,000,000"):
        scale.design({"sweep": axes})


def test_a_byte_order_mark_and_hyphens_are_read(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_bytes(b"\xef\xbb\xbf" + HEAD.encode() + b"[sweep]\nkeep-prob = [0.5, 0.6]\n")
    assert scale.read(file).axes == {"keep_prob": [0.5, 0.6]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "workers must be a whole number of at least 0, got -1"),
        ({"workers": True}, "workers must be a whole number"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds must be a finite number, got nan"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be a number, 0 or more, got -1"),
        ({"scheduler": ""}, "scheduler must be an address such as tcp://host:8786, got ''"),
        ({"resume": "yes"}, "resume must be True or False, got 'yes'"),
    ],
)
def test_arguments_of_sweep_are_refused_before_any_folder(tmp_path: Path, options: Any, message: Any) -> None:
    design = scale.design({"problem": {"data": "sin"}, "sweep": {"lr": [0.1]}})
    with pytest.raises(InvalidInput, match=message):
        scale.sweep(design, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
