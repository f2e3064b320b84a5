"""The style of figures: a style file of matplotlib's that users can take, names as mathematics, vector files."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from simdrop.output import style


def test_users_take_it_as_a_style_of_matplotlib() -> None:
    import matplotlib.style

    with matplotlib.style.context("simdrop.output.simdrop"):
        assert mpl.rcParams["font.size"] == 9
        theirs = {name: mpl.rcParams[name] for name in style.STYLE}
    with mpl.rc_context(style.STYLE):
        assert {name: mpl.rcParams[name] for name in style.STYLE} == theirs
    assert mpl.rcParams["axes.spines.top"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("loss R_S + R_1 at the end", "loss $R_S + R_1$ at the end"),
        ("R_drop - R_1", r"$R_{\mathrm{drop}} - R_1$"),
        ("Tr H, of R_2", r"$\mathrm{Tr}\,H$, of $R_2$"),
        ("mean $R_S$", "mean $R_S$"),
        ("D = A lr^q + B lr^(q+1)", r"D = A $\varepsilon^{q}$ + B $\varepsilon^{q+1}$"),
        ("risk", "risk"),
    ],
)
def test_names_are_typeset_as_mathematics(text: str, wanted: str) -> None:
    assert style.typeset(text) == wanted


def test_vector_files_hold_text_and_are_the_same_for_the_same_figure(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure = Figure()
        figure.subplots().set_title(style.typeset("R_S + R_1"))
        style.save(figure, tmp_path / f"{name}.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert b"/FontType /Type3" not in content
    assert b"/Subtype /Type0" in content  # TrueType, which stays text
