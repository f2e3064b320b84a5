"""The table that `simdrop compare` prints."""

from __future__ import annotations

import math
from typing import Any

from ...checks.words import counted
from ...output.numbers import percent
from .summary import distance_text

_FLOWS = {
    "gradient": "plain gradient flow  R_S",
    "averaged": "averaged flow  R_S + R_1",
    "modified": "modified flow  R_S + R_1 + R_2",
}
_PREDICTIONS = {1: "one prediction", 2: "two predictions", 3: "three predictions"}
_LEGEND = """\
Each flow starts where the networks start and predicts their mean. Plain gradient flow ignores dropout; the
averaged flow adds its mean effect R_1, the modified flow also R_2, the effect of a finite learning rate.
parameters: |E theta - flow|, 2-norm.  function: root mean square of E f - f(flow) over {grid}.
risk: |E R_S - R_S(flow)|.  Values are corrected for sampling noise, ± is one standard error, the percentage
the share of plain gradient flow's distance that a flow removes; "below" bounds what is hidden by its error, "-" stands
where networks diverged and nothing is known. Sampling noise: what an exact theory would
show before the correction, for {members} networks."""


def table(summary: dict[str, Any]) -> str:
    """The summary of a comparison as text of at most 110 columns."""
    problem, run, time = summary["problem"], summary["simulation"], summary["time"]
    predictions = _PREDICTIONS[len(summary["quantities"]["risk"]["flows"])]
    neurons = counted(problem["width"], f"{problem['activation']} neuron")
    lines = [
        f"{run['members']} networks of {neurons} with dropout (keep_prob"
        f" {problem['keep_prob']:g}, one mask per {problem['mask']}),",
        f"{counted(run['steps'], 'step')} of learning rate {run['lr']:g} on {counted(problem['n_samples'], 'sample')},"
        f" against {predictions} of their mean",
        "",
    ]
    for span, title in (("final", f"at the end, t = {time['final']:g}"), ("rms", "over the run, rms")):
        lines.append(_row(title, list(summary["quantities"])))
        kinds = summary["quantities"]["parameters"]["flows"]
        lines += [
            _row(_FLOWS[kind], [_cell(q["flows"][kind][span]) for q in summary["quantities"].values()])
            for kind in kinds
        ]
        noises = [f"{q['noise'][span]:.2g}" for q in summary["quantities"].values()]
        lines += [_row("sampling noise", noises), ""]
    lines.append(_LEGEND.format(grid=counted(summary["grid_points"], "point"), members=run["members"]))
    lines += ["", *(f"- {sentence}" for sentence in summary["verdict"])]
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<32}" + "".join(f"{cell:<26}" for cell in cells).rstrip()


def _cell(found: dict[str, float]) -> str:
    text = distance_text(found["distance"], found["error"])
    share = found.get("share_removed")
    return text if share is None or math.isnan(share) else f"{text}  {percent(share)}"
