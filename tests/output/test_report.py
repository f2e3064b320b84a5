"""Reports: one HTML file for any folder of results; `simdrop show` on the same folders, and what it exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from output.small import COMPARE, ORDER, run, simulate, sme, study

VOID = {"meta", "link", "img", "br"}
CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """The texts of a page, its tags and its addresses; fails where tags are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self._note(tag, attrs)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def _note(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [value for name, value in attrs if name in {"href", "src", "xlink:href"}]


def check(file: Path) -> Page:
    """A report that is complete: nothing is loaded from elsewhere, every identifier is there once."""
    page = Page(file.read_text(encoding="utf-8"))
    assert [one for one in page.addresses if not one.startswith(("#", "data:"))] == []
    assert len(set(page.ids)) == len(page.ids)
    assert {one[1:] for one in page.addresses if one.startswith("#")} <= set(page.ids)
    for heading in ("How to repeat it", "How to cite it", "Implicit Regularization of Dropout"):
        assert heading in page.text
    return page


@pytest.fixture(scope="module", name="compared")
def _compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    assert run(*COMPARE, "--out", out) == 0
    return out


@pytest.fixture(name="copied")
def _copied(compared: Path, tmp_path: Path) -> Path:
    """A folder of a comparison that a test may change."""
    return shutil.copytree(compared, tmp_path / "out")


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_report_of_a_comparison(tmp_path: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = copied
    page, summary = check(out / "report.html"), json.loads((out / "summary.json").read_text())
    assert "svg" in page.tags
    assert "img" not in page.tags
    for sentence in summary["verdict"]:
        assert words(sentence) in words(page.text)
    assert "simdrop compare --config settings.toml" in page.text
    assert (out / "settings.toml").read_text().strip() in page.text
    assert summary["machine"]["processor"] in page.text
    assert run("show", out) == 0
    for line in capsys.readouterr().out.splitlines():
        assert words(line.removeprefix("- ")) in words(page.text)
    assert run("report", out, "--out", tmp_path / "again.html") == 0
    again = check(tmp_path / "again.html")
    assert "img" in again.tags  # the figure as it was written: the data are not in the folder
    assert words(again.text) == words(
        Page(re.sub(r"<svg.*?</svg>", "", (out / "report.html").read_text(), flags=re.S)).text
    )
    assert run("report", out, "--out", tmp_path / "again.html") == 2
    assert "exists: name another place or use --overwrite" in capsys.readouterr().err
    assert run("report", out) == 0  # which simdrop wrote
    (out / "report.html").write_text("mine")
    assert run("report", out) == 2
    assert (out / "report.html").read_text() == "mine"


def test_the_report_of_an_order_is_drawn_again(tmp_path: Path) -> None:
    assert run(*ORDER, "--out", tmp_path / "out") == 0
    first = check(tmp_path / "out" / "report.html")
    assert "averaged flow claims order 1 in the mean parameters" in first.text
    assert run("report", tmp_path / "out", "--out", tmp_path / "again.html") == 0
    again = check(tmp_path / "again.html")
    assert again.tags == first.tags
    assert again.text == first.text


def _sweep(out: Path) -> None:
    assert run("sweep", study(out.parent), "--out", out, "--quiet") == 0


@pytest.mark.parametrize(
    ("write", "shown"),
    [
        (lambda out: simulate(out=out), "risk_mean"),
        (lambda out: sme(out=out), "risk_mean"),
        (_sweep, "keep_prob"),
    ],
    ids=["simulate", "sme", "sweep"],
)
def test_the_reports_of_other_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Callable[[Path], Any], shown: str
) -> None:
    write(tmp_path / "out")
    capsys.readouterr()
    assert run("report", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"written to {tmp_path / 'out' / 'report.html'}\n"
    assert shown in check(tmp_path / "out" / "report.html").text
    assert run("show", tmp_path / "out") == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".nc", ".parquet"])
def test_exports_of_a_comparison_keep_attributes(tmp_path: Path, compared: Path, suffix: str) -> None:
    held = xr.open_zarr(compared / "distances.zarr")
    target = tmp_path / f"all{suffix}"
    assert run("show", compared, "--export", target) == 0
    if suffix == ".nc":
        found = xr.open_dataset(target, engine="h5netcdf")
        assert found["distance"].identical(held["distance"].load())
        return
    import pandas as pd

    rows = pd.read_parquet(target)
    chosen = rows[(rows["quantity"] == "risk") & (rows["kind"] == "averaged")].drop_duplicates("time")
    assert chosen["distance"].tolist() == held["distance"].sel(quantity="risk", kind="averaged").values.tolist()


def test_a_folder_that_is_damaged_is_one_line(tmp_path: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", "[]", "{}", '{"quantities": 3}'):
        (copied / "summary.json").write_text(text)
        for command in ("show", "report"):
            assert run(command, copied) == 2
            assert re.fullmatch(r"simdrop: error: cannot read .*summary\.json.*\n", capsys.readouterr().err)
    assert run("report", tmp_path / "none") == 2
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_a_complaint(tmp_path: Path, compared: Path, scheme: str) -> None:
    from matplotlib.image import imread

    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--log-level=0", "--window-size=1280,2400",
        f"--screenshot={tmp_path / 'seen.png'}",
        *(["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []),
    ]  # fmt: skip
    address = (compared / "report.html").as_uri()
    done = subprocess.run([str(CHROMIUM), *options, address], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    picture = imread(tmp_path / "seen.png")
    corner = picture[-5:, :5, :3].mean()
    assert corner < 0.2 if scheme == "dark" else corner > 0.9
    assert picture[200:, 100:-100, :3].std() > 0.1
