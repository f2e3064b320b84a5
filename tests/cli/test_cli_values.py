"""Every setting of every command with values that people and scripts get wrong: one line that names it, before work."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from simdrop import cli
from simdrop.cli.bench import BenchSettings
from simdrop.cli.compare import CompareSettings
from simdrop.cli.order import OrderSettings
from simdrop.cli.reproduce import ReproduceSettings
from simdrop.settings import fields as config

COMMANDS = {
    "compare": (CompareSettings, [], "simdrop.study.comparison.compare:Plan.run"),
    "order": (OrderSettings, [], "simdrop.study.convergence.ladder:order"),
    "bench": (BenchSettings, [], "simdrop.study.throughput.measure:benchmark"),
    "reproduce": (ReproduceSettings, ["relu-fit"], "simdrop.cli.reproduce:_one"),
}
VALUES = [
    "", " ", "nan", "inf", "-1", "0", "1.5", "1e400", "1e308", str(10**30), "9" * 5000, "text", "é\u2028x", "[1, 2]",
    "{a = 1}", "true", "2024-01-01", "folder", "missing/file.csv", '"', "1\nlr = 2", "a\0b", "\ud800",
]  # fmt: skip
#: what messages call a setting that names one of several things
CALLED = {"kinds": "kind", "backends": "backend", "data": "cannot read"}


class _Worked(BaseException):
    """The command began its work: the value was taken."""


@pytest.fixture
def no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands stop where their work would begin, in a folder of their own."""

    def stop(*arguments: Any, **options: Any) -> None:
        raise _Worked

    for _, _, place in COMMANDS.values():
        module, _, names = place.partition(":")
        import_module(module)
        holder = sys.modules[module]
        *path, name = names.split(".")
        for step in path:
            holder = getattr(holder, step)
        monkeypatch.setattr(holder, name, stop)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)


def _wrong(arguments: Any, names: Any, capsys: Any) -> Any:
    """What is wrong with the way in which the command refuses its arguments, or "" where nothing is."""
    try:
        status = cli.run(arguments)
    except _Worked:
        return ""
    error = capsys.readouterr().err
    fine = status == cli.BAD_INPUT and error.startswith("simdrop: error: ") and error.count("\n") == 1
    fine = fine and len(error) < 700 and "--debug shows where" not in error and any(name in error for name in names)
    return "" if fine else f"{arguments}: {status} {error[:300]}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["flag", "set"])
def test_values_that_no_setting_takes(
    no_work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Any, form: Any
) -> None:
    cls, more, _ = COMMANDS[command]
    found = []
    for field in fields(cls):
        for value in VALUES:
            flag = config.flag_of(field)
            if form == "flag" and "bool" in str(field.type):
                continue
            given = [f"{flag}={value}"] if form == "flag" else ["--set", f"{field.name}={value}"]
            out = [] if field.name == "out" else ["--out", str(tmp_path / "out"), "--overwrite"]
            names = [field.name, flag, CALLED.get(field.name, field.name)]
            found.append(_wrong([command, *more, *out, *given], names, capsys))
    assert "\n".join(text[:50] + " ... " + text[-400:] for text in found if text) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "keep-prob=0.5", "--set", "keep_prob=0.6"], "'keep_prob': keep_prob is given twice"),
        (["--set", "=3"], "unknown configuration key in --set ''"),
        (["--set", "lr"], "--set takes key=value, got 'lr'"),
        (["--config", "folder"], "cannot read configuration folder: Is a directory"),
        (["--config", ""], "configuration must name a file or folder, got ''"),
        (["--lr"], "Option '--lr' requires an argument"),
        (["--threads", "0"], "--threads must be a whole number of at least 1, got 0"),
        (["--memory", "0"], "--memory must be a whole number of at least 1, got 0"),
        (["--init-gamma=-1e308"], "init_gamma must give a finite standard deviation, m^-gamma, got -1e+308"),
        (["--activation", "silu"], "unknown activation 'silu': known are erf"),
        (["--activation", "ReLU"], "unknown activation 'ReLU': did you mean 'relu'?"),
        (["stray"], "unexpected extra argument"),
    ],
)
def test_usage(no_work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Any, message: Any) -> None:
    assert cli.run(["compare", "--out", str(tmp_path / "out"), *arguments]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr = 0.1\n".encode("utf-16"), "is UTF-16: TOML files are UTF-8; save it as that"),
        (b"# caf\xe9\n", "is not text in UTF-8 (line 1); save it as that"),
        (b"a = " + b"[" * 5000, "is not valid TOML: it is nested too deeply"),
        (b"keep-prob = 0.5\nkeep_prob = 0.6\n", "'keep_prob': keep_prob is given twice"),
        (b"lr = nan\n", "key 'lr' in run.toml must be a finite number, got nan"),
        (b"init_scale = -1\n", "key 'init_scale' in run.toml must be a number, 0 or more, got -1.0"),
        (b"threads = 0\n", "key 'threads' in run.toml must be a whole number of at least 1, got 0"),
    ],
)
def test_configuration_files(
    no_work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: Any
) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    assert cli.run(["compare", "--config", "run.toml", "--out", "out"]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_configuration_with_a_mark_is_read(no_work: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbflr = 0.1\n")
    with pytest.raises(_Worked):
        cli.run(["compare", "--config", "run.toml"])


@pytest.mark.parametrize("option", ["--workers", "--threads", "--checkpoint-seconds"])
@pytest.mark.parametrize("value", ["", "text", "nan", "-1", "0.5x", str(10**30)])
def test_options_of_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: Any, value: Any) -> None:
    (tmp_path / "s.toml").write_text('[problem]\ndata = "sin"\n[sweep]\nlr = [0.1]\n')
    if (option, value) == ("--checkpoint-seconds", str(10**30)):
        return  # longer than any launch: no checkpoints
    arguments = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), f"{option}={value}"]
    assert _wrong(arguments, [option, option[2:].replace("-", "_")], capsys) == ""
    assert not (tmp_path / "out").exists()


def test_own_data_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options of tables through the real command, and what was done is told."""
    (tmp_path / "d.csv").write_text(",city,size,y\n0,Rome,1,2\n1,Paris,,3\n2,Rome,2,1\n3,Paris,3,2\n")
    quick = ["--members", "12", "--steps", "3", "--width", "3", "--record", "2", "--backend", "numpy"]
    given = ["--data", tmp_path / "d.csv", "--target", "y", "--missing", "drop", "--categories", "one-hot"]
    assert cli.run([str(word) for word in ["compare", *quick, *given, "--out", tmp_path / "out"]]) == 0
    told = capsys.readouterr().out
    assert "data: 1 of 4 rows with missing cells left out (columns size)" in told
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["data"]["inputs"] == ["city=Paris", "city=Rome", "size"]
    assert summary["problem"]["n_samples"] == 3
    again = ["compare", "--config", tmp_path / "out" / "settings.toml", "--out", tmp_path / "again", "--quiet"]
    assert cli.run([str(word) for word in again]) == 0
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["data"] == summary["data"]


def test_one_line_from_the_shell(tmp_path: Path) -> None:
    """As a user sees it: no traceback, status 2."""
    command = [sys.executable, "-m", "simdrop", "compare", "--lr", "nan", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "simdrop: error: --lr must be a finite number, got nan\n"
