"""What notebooks and terminals show of problems, designs and results; panels drawn into axes of the user's own."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

import simdrop
from simdrop import plots, scale, study
from simdrop.errors import InvalidInput

X = np.linspace(-1, 1, 4)
LINE = 300  # characters that a line of text may have


@pytest.fixture(scope="module")
def problem() -> simdrop.Problem:
    return simdrop.Problem(X, np.sin(3 * X), width=4, keep_prob=0.7)


@pytest.fixture(scope="module")
def found(problem: simdrop.Problem) -> study.Comparison:
    return simdrop.compare(problem, lr=0.1, steps=20, members=12, backend="numpy", record=6)


class Balanced(HTMLParser):
    """Notes the texts of a page, and tags that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_problem_is_one_line_and_a_table(problem: simdrop.Problem) -> None:
    assert repr(problem) == (
        "<Problem: 4 samples, 1 input, 1 output; width=4, keep_prob=0.7, activation='tanh', mask='step'>"
    )
    other = simdrop.Problem(X, [0, 0, 1, 1], width=4, loss="logistic", weight_decay=1e-3)
    assert repr(other).endswith("loss='logistic', weight_decay=0.001>")
    texts = Balanced(problem._repr_html_()).texts
    assert texts[texts.index("network") + 1] == "4 hidden neurons, P = 12 parameters"
    assert texts[texts.index("keep_prob") + 1] == "0.7: dropout factors have variance 0.429"


def test_a_registered_name_is_shown_as_text(monkeypatch: pytest.MonkeyPatch, problem: simdrop.Problem) -> None:
    monkeypatch.setitem(problem.__dict__, "activation", "<b>own</b>")
    assert "<b>own</b>" in Balanced(problem._repr_html_()).texts  # escaped: no tag


def test_results_are_one_line_and_their_table(found: study.Comparison) -> None:
    assert len(repr(found)) < LINE
    assert repr(found).startswith("<Comparison of simdrop: .table(), .figure()")
    assert found.table() in Balanced(found._repr_html_()).texts


def test_a_design_says_what_is_swept() -> None:
    made = scale.design({"problem": {"data": "sin"}, "sweep": {"lr": [0.1, 0.2], "seed": list(range(40))}})
    assert repr(made) == "<Design: grid of 80 points; lr: 2, seed: 40>"
    texts = Balanced(made._repr_html_()).texts
    assert texts[texts.index("lr") + 1] == "0.1, 0.2"
    assert texts[texts.index("seed") + 1] == "0, 1, 2, 3, 4, ..., 39 (40)"


def test_figures_show_as_pictures_where_pyplot_is_not_loaded(found: study.Comparison) -> None:
    drawn: Any = found.figure()
    picture = drawn._repr_png_()
    assert picture.startswith(b"\x89PNG")
    image = matplotlib.image.imread(io.BytesIO(picture))
    assert image.shape[1] > image.shape[0] > 500
    assert image[..., :3].std() > 0.05  # something is drawn


#: the panels of a comparison in their order
PANELS = [["fit"], ["distance", "parameters"], ["distance", "function"], ["risk"], ["sizes"], ["shares"]]


def lines_of(axes: Any) -> list[Any]:
    """What is drawn: the numbers of lines and the lengths of bars."""
    return [line.get_xydata() for line in axes.lines] + [[patch.get_width()] for patch in axes.patches]


@pytest.mark.parametrize("number", range(len(PANELS)))
def test_panels_are_those_of_the_figure(found: study.Comparison, number: int) -> None:
    name, *rest = PANELS[number]
    figure = matplotlib.figure.Figure()
    left, right = figure.subplots(1, 2)
    assert getattr(plots, name)(found, *rest, ax=right) is right
    assert not left.has_data()
    whole = found.figure().axes[number]
    assert len(lines_of(right)) == len(lines_of(whole)) > 0
    for own, theirs in zip(lines_of(right), lines_of(whole), strict=True):
        np.testing.assert_array_equal(own, theirs)
    assert right.get_xlabel() == whole.get_xlabel()
    alone: Any = getattr(plots, name)(found, *rest)
    assert alone.figure._repr_png_().startswith(b"\x89PNG")


def test_panels_of_other_studies(problem: simdrop.Problem) -> None:
    ladder = study.order(problem, lrs=[0.5, 0.25, 0.125], members=40, kinds=["averaged"], backend="numpy", groups=4)
    axes = plots.order(ladder, "risk")
    assert axes.get_xscale() == "log"
    mapped = study.heat_map(problem, lrs=[0.5, 0.25], keep_probs=[0.5, 0.9], members=40, kinds=["averaged"], groups=4)
    assert len(plots.heat_map(mapped, "averaged").figure.axes) == 2  # and its bar of colours


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda found: plots.distance(found, "weights"), "quantity"),
        (lambda found: plots.risk(found.runs), "found must be what simdrop's compare returns"),
        (plots.order, "found must be what simdrop's order returns"),
        (lambda found: plots.risk(found, ax="left"), "ax must be Matplotlib's Axes, got 'left'"),
    ],
)
def test_other_things_are_refused(found: study.Comparison, call: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        call(found)
