"""The command line: results on disk, one readable line for every error, exit statuses."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import cli
from simdrop.cli.compare import CompareSettings
from simdrop.output.storage import load
from simdrop.settings import fields as config

QUICK = ["--members", "12", "--steps", "20", "--width", "5", "--record", "4", "--backend", "numpy"]


def run(*arguments: Any) -> Any:
    return cli.run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a small comparison."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        assert run("compare", *QUICK, "--quiet", "--out", folder) == 0
    assert output.getvalue() == errors.getvalue() == ""  # quiet
    return folder


def test_compare_measures_a_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = np.random.default_rng(0)
    x, y = drawn.standard_normal((9, 2)), drawn.standard_normal(9)
    np.savez(tmp_path / "train.npz", x=x[:5], y=y[:5])
    np.savez(tmp_path / "test.npz", x=x[5:], y=y[5:])
    given: list[Any] = [
        "--data",
        tmp_path / "train.npz",
        "--test",
        tmp_path / "test.npz",
        "--keep-prob",
        "0.7",
        "--output-scale",
        "1",
    ]
    assert run("compare", *QUICK, *given, "--standardize", "--out", tmp_path / "out") == 0
    scaled = (x - x[:5].mean(axis=0)) / x[:5].std(axis=0)
    problem = simdrop.Problem(scaled[:5], y[:5], width=5, keep_prob=0.7)
    test = scaled[5:], y[5:]
    found = simdrop.compare(problem, lr=0.01, steps=20, members=12, record=4, test=test, backend="numpy")
    runs = load(tmp_path / "out" / "results.zarr")
    np.testing.assert_allclose(runs["test_risk"], found.runs["test_risk"], rtol=1e-12)
    held = json.loads((tmp_path / "out" / "summary.json").read_text())["test"]
    last = runs["test_risk"].values[-1]
    assert held["test_risk"]["mean"] == pytest.approx(last.mean(), rel=1e-12)
    assert held["test_risk"]["error"] == pytest.approx(last.std(ddof=1) / np.sqrt(12), rel=1e-9)
    assert "means over the networks at the end: risk " in capsys.readouterr().out
    assert run("compare", *QUICK, "--test", tmp_path / "test.npz", "--out", tmp_path / "other") == 2
    assert "test x: points must have 1 column like the data, got 2" in capsys.readouterr().err


def test_compare_prints_a_table_and_leaves_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *QUICK, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr()
    for word in ("plain gradient flow", "averaged flow", "modified flow", "sampling noise", "standard error"):
        assert word in printed.out
    assert printed.err == ""
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    stores = ["distances.zarr", "figure.pdf", "figure.png", "flows.zarr", "report.html", "results.zarr"]
    assert found == [*stores, "settings.toml", "simdrop.json", "summary.json"]
    assert max(len(line) for line in printed.out.splitlines()[:20]) <= 110


def test_summary_has_numbers_with_errors_and_where_they_come_from(finished: Any) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    flows = summary["quantities"]["parameters"]["flows"]
    assert {"distance", "error"} <= set(flows["gradient"]["final"])
    assert {"share_removed", "share_error"} <= set(flows["modified"]["rms"])
    assert summary["simulation"]["members"] == 12
    assert summary["data"]["name"] == "condensation"
    assert summary["versions"]["simdrop_version"] == simdrop.__version__
    assert {"cores", "processor"} <= set(summary["machine"])
    assert {"compile", "simulate", "flows"} <= set(summary["seconds"])


def test_the_settings_written_repeat_the_run(tmp_path: Path, finished: Any) -> None:
    again = tmp_path / "again"
    assert run("compare", "--config", finished / "settings.toml", "--out", again, "--quiet") == 0
    one, two = (load(folder / "results.zarr") for folder in (finished, again))
    np.testing.assert_array_equal(one["risk"].values, two["risk"].values)
    assert run("compare", "--config", finished / "settings.toml", "--set", "seed=1", "--out", again) == cli.BAD_INPUT
    flags = ["--overwrite", "--set", "seed=1", "--set", "members=20", "--members", "12", "--quiet"]
    assert run("compare", "--config", finished / "settings.toml", *flags, "--out", again) == 0
    changed = load(again / "results.zarr")
    assert changed.attrs["seed"] == "1"
    assert changed.sizes["member"] == 12
    assert not np.array_equal(one["risk"].values, changed["risk"].values)


def test_own_data_by_the_second_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((12, 3))
    text = "a,b,price\n" + "\n".join(",".join(map(str, row)) for row in table)
    (tmp_path / "d.csv").write_text(text)
    arguments = ["--data", tmp_path / "d.csv", "--target", "price", "--standardize", "--out", tmp_path / "out"]
    assert run("compare", *QUICK, *arguments, "--quiet") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["data"]["inputs"] == ["a", "b"]
    assert summary["problem"]["n_samples"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0"], "lr must be positive, got 0.0"),
        (["--lr", "fast"], "lr must be a number, {step: number, ...} or one of "),
        (["--steps", "1.5"], "--steps must be a whole number, got 1.5"),
        (["--steps", "-3"], "steps must be a whole number of at least 1, got -3"),
        (["--members", "0"], "members must be a whole number of at least 4, got 0"),
        (["--width", "0"], "width must be a whole number of at least 1, got 0"),
        (["--keep-prob", "0"], "keep_prob must lie in (0, 1]"),
        (["--keep-prob", "1.2"], "keep_prob must lie in (0, 1]"),
        (["--activation", "tahn"], "unknown activation 'tahn': did you mean 'tanh'?"),
        (["--mask", "steps"], "unknown mask 'steps': did you mean 'step'?"),
        (["--backend", "nunba"], "unknown backend 'nunba': did you mean 'numba'?"),
        (["--kinds", "modifed"], "unknown kind 'modifed': did you mean 'modified'?"),
        (["--set", "keep_porb=1"], "unknown configuration key in --set 'keep_porb': did you mean 'keep_prob'?"),
        (["--data", "digit"], "unknown data 'digit': did you mean 'digits'?"),
        (["--data", "none.csv", "--target", "y"], "cannot read none.csv: No such file or directory"),
        (["--learning-rate", "1"], "No such option"),
        (["--output-scale", "1/n"], "unknown output_scale '1/n'"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Any, message: Any
) -> None:
    assert run("compare", *QUICK, "--out", tmp_path / "out", *arguments) == cli.BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("simdrop: error: ")
    assert message in printed.err
    assert not (tmp_path / "out").exists()


def test_bad_input_leaves_an_earlier_result_alone(finished: Any) -> None:
    before = (finished / "summary.json").read_bytes()
    assert run("compare", *QUICK, "--out", finished, "--overwrite", "--lr", "0") == cli.BAD_INPUT
    assert (finished / "summary.json").read_bytes() == before


def test_another_result_is_refused(finished: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", *QUICK, "--out", finished) == cli.BAD_INPUT
    assert "holds another result (results.zarr, summary.json" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compare", *QUICK, "--out", tmp_path / "out", "--width", "0", "--debug")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_failure_inside_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simdrop.study.result.Result.write", lambda *_, **__: 1 / 0)
    assert run("compare", *QUICK, "--out", tmp_path / "out") == cli.FAILED
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "(--debug shows where)" in told
    assert told.startswith("simdrop: error: ZeroDivisionError: division by zero; what was recorded is")


DIVERGING = ["--data", "sin", "--activation", "quadratic", "--keep-prob", "0.5", "--init-scale", "1.5", "--seed", "3"]


def test_members_that_diverge_are_named_and_the_status_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*QUICK, *DIVERGING, "--steps", "60", "--lr", "0.05", "--out", tmp_path / "out"]
    assert run("compare", *arguments) == cli.FAILED
    printed = capsys.readouterr()
    assert printed.err.startswith("simdrop: warning: ")
    assert printed.err.count("\n") == 1
    assert "diverged and left the means" in printed.err
    assert "(step " in printed.err
    assert "diverged and left the means" in printed.out
    lost = json.loads((tmp_path / "out" / "summary.json").read_text())["diverged"]
    assert 0 < lost["members"] < 12
    assert len(lost["steps"]) == lost["members"]


def test_all_members_diverged_is_an_error_and_keeps_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*QUICK, *DIVERGING, "--steps", "60", "--lr", "3", "--out", tmp_path / "out"]
    assert run("compare", *arguments) == cli.FAILED
    error = capsys.readouterr().err
    assert "all members diverged; a smaller lr may help" in error
    assert "what was recorded is in" in error
    assert load(tmp_path / "out" / "results.zarr")["alive"].values[0] == 12


def test_info_says_what_is_there_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info") == 0
    text = capsys.readouterr().out
    for word in ("backends", "numpy", '"auto"', "cores", "processor", "GPU", "vectors", "numba"):
        assert word in text
    assert run("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["numpy"] == "available"
    assert set(found["auto"]) == {"float32", "float64"}


def test_help_names_every_setting_with_its_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--help") == 0
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")  # lines break at hyphens
    for option in fields(CompareSettings):
        assert config.flag_of(option) in text
        assert all(choice in text for choice in config.choices_of(option))
    assert run() == 0
    assert "compare" in capsys.readouterr().out
    assert run("--version") == 0


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numba", "matplotlib", "xarray", "scipy", "zarr", "sklearn", "numpy")
    code = (
        "import sys; from simdrop import cli; status = cli.run(['--help']);"
        f" print(status, [name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_in_a_terminal_leaves_what_was_recorded(tmp_path: Path) -> None:
    """SIGINT to the real command once its bar shows the simulation: status 130, results readable."""
    import fcntl
    import pty
    import struct
    import termios

    out = tmp_path / "out"
    command = [sys.executable, "-m", "simdrop", "compare", *QUICK, "--steps", "2000000", "--record", "2000"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    with subprocess.Popen([*command, "--out", out], stderr=theirs, stdout=subprocess.PIPE, text=True) as running:
        os.close(theirs)
        seen = ""
        try:
            while "member-steps/s" not in seen:
                chunk = _read(ours)
                assert chunk, f"no progress bar: {seen}"
                seen += chunk
            running.send_signal(signal.SIGINT)
            while chunk := _read(ours):
                seen += chunk
        finally:
            running.kill()
            os.close(ours)
        assert running.stdout.read() == ""
    assert running.returncode == 130
    assert re.search(r"simulating: +\d+%.*\[.*<.*member-steps/s", seen)  # elapsed < remaining, rate
    assert seen.splitlines()[-1].endswith(
        f"simdrop: error: interrupted; what was recorded is in {out / 'results.zarr'}"
    )
    kept = load(out / "results.zarr")
    assert kept.attrs["interrupted"] == 1
    assert np.isfinite(kept["risk_mean"].values[0])
    assert not (out / "summary.json").exists()


def _read(terminal: Any) -> Any:
    """What the terminal shows within a minute, or "" when nobody writes there any more."""
    try:
        ready = select.select([terminal], [], [], 60)[0]
        return os.read(terminal, 1000).decode() if ready else ""
    except OSError:
        return ""


@pytest.mark.slow
def test_the_defaults_keep_their_promise(tmp_path: Path) -> None:
    """`simdrop compare` as it is: plain gradient flow fails, the others remove at least 80 % of its distance."""
    assert run("compare", "--quiet", "--out", tmp_path / "out") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    for quantity in ("parameters", "function"):
        numbers = summary["quantities"][quantity]
        plain = numbers["flows"]["gradient"]["final"]["distance"]
        assert plain > 50 * numbers["noise"]["final"]
        for kind in ("averaged", "modified"):
            for span in ("final", "rms"):
                found = numbers["flows"][kind][span]
                assert found["share_removed"] - 3 * found["share_error"] > 0.8


@pytest.mark.slow
def test_the_heat_map_of_order_has_the_kinds_that_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--members", "8", "--paths", "8", "--sme-members", "8", "--groups", "4", "--grid", "3", "--width", "3"]
    given: list[Any] = [
        "order",
        "--heat-map",
        "--lrs",
        "0.5",
        "--lrs",
        "0.25",
        "--lrs",
        "0.125",
        *few,
        "--backend",
        "numpy",
        "--quiet",
    ]
    given += ["--data", "sin", "--out", tmp_path / "out"]
    assert run(*given, "--kinds", "gradient", "--kinds", "pathwise") == 0
    assert list(json.loads((tmp_path / "out" / "heat-map.json").read_text())["kinds"]) == ["gradient"]
    assert run(*given, "--kinds", "pathwise", "--overwrite") == 2
    assert "heat-map compares means" in capsys.readouterr().err
