"""The table that `simdrop compare` prints."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from ...checks.words import counted
from ...output.numbers import percent, plus_minus, short
from ..predictions import FLOWS, PREDICTIONS
from .summary import distance_text

#: of the text
COLUMNS = 110
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_LEGEND = """\
Each flow starts where the networks start and predicts their mean. Plain gradient flow ignores dropout; the
averaged flow adds its mean effect R_1, the modified flow also R_2, the effect of a finite learning rate.
parameters: |E theta - flow|, 2-norm.  function: root mean square of E f - f(flow) over {grid}.
risk: |E R_S - R_S(flow)|.  Values are corrected for sampling noise, ± is one standard error, the percentage
the share of plain gradient flow's distance that a flow removes; "below" bounds what is hidden by its error, "-" stands
where networks diverged and nothing is known. Sampling noise: what an exact theory would
show before the correction, for {members} networks."""
#: where dropout's factors act -> words
PLACES = {
    "forward": ", in the forward pass alone",
    "update": ", on the update alone",
    "independent": ", another in the backward pass",
}
_PLACED = "Dropout does not act in the whole step: the mean step descends R_S, and R_1 is 0."
#: of predictions that are sampled themselves
_OWN = """\
Own sampling noise: the same for the paths of an SME, whose groups are paired with those of the networks, so that ±
holds the sampling of both."""


def table(summary: dict[str, Any]) -> str:
    """The summary of a comparison as text of at most 110 columns."""
    problem, run, time = summary["problem"], summary["simulation"], summary["time"]
    count = len(summary["quantities"]["risk"]["flows"])
    predictions = f"{_NUMBERS[count]} prediction{'' if count == 1 else 's'}"
    neurons = counted(problem["width"], f"{problem['activation']} neuron")
    lines = [
        f"{run['members']} networks of {neurons} with dropout (keep_prob"
        f" {problem['keep_prob']:g}, one mask per {problem['mask']}{_place(summary)}),",
        f"{counted(run['steps'], 'step')} of learning rate {short(run['lr'])} on"
        f" {counted(problem['n_samples'], 'sample')},"
        f" against {predictions} of their mean",
        "",
    ]
    for span, title in (("final", f"at the end, t = {time['final']:g}"), ("rms", "over the run, rms")):
        lines.append(_row(title, list(summary["quantities"])))
        kinds = summary["quantities"]["parameters"]["flows"]
        for kind in kinds:
            found = [q["flows"][kind][span] for q in summary["quantities"].values()]
            one = PREDICTIONS[kind]
            lines.append(_row(f"{one.title}  {one.formula}", list(map(_cell, found))))
            if "own_noise" in found[0]:
                lines.append(_row("  own sampling noise", [f"{numbers['own_noise']:.2g}" for numbers in found]))
        noises = [f"{q['noise'][span]:.2g}" for q in summary["quantities"].values()]
        lines += [_row("sampling noise", noises), ""]
    lines.append(_LEGEND.format(grid=counted(summary["grid_points"], "point"), members=run["members"]))
    if _place(summary):
        lines.append(_PLACED)
    others = [PREDICTIONS[kind] for kind in kinds if kind not in FLOWS]
    lines += textwrap.wrap(" ".join(one.sentence for one in others), COLUMNS)
    if any(one.equation for one in others):
        lines += _OWN.splitlines()
    if "test" in summary:
        lines += ["", "means over the networks at the end: " + _on_test(summary["test"])]
    lines += ["", *(f"- {sentence}" for sentence in summary["verdict"])]
    return "\n".join(lines)


def _place(summary: dict[str, Any]) -> str:
    """Where dropout's factors act, if not in the whole step."""
    return PLACES.get(summary.get("noise", {}).get("place", "both"), "")


def _on_test(means: dict[str, dict[str, float]]) -> str:
    """Risk, and accuracy where there are classes, on the data and on the test set."""
    words = {"risk": "risk", "test_risk": "test risk", "accuracy": "accuracy", "test_accuracy": "test accuracy"}
    return ", ".join(f"{words[name]} {plus_minus(found['mean'], found['error'])}" for name, found in means.items())


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<32}" + "".join(f"{cell:<25} " for cell in cells).rstrip()


def _cell(found: dict[str, float]) -> str:
    text = distance_text(found["distance"], found["error"])
    share = found.get("share_removed")
    return text if share is None or math.isnan(share) else f"{text}  {percent(share)}"
