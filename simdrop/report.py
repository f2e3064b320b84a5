"""What a study leaves behind: a folder with summary.json, results and figure, and a table on the screen."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .study.summary import distance_text
from .words import counted

if TYPE_CHECKING:
    from .output.folder import Folder
    from .study.comparison import Comparison

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


def write_comparison(comparison: Comparison, folder: Folder) -> None:
    """Write summary.json, results.zarr, flows.zarr, distances.zarr and figure.png into `folder`."""
    from . import plots
    from .storage import save

    folder.write("summary.json", partial(write_json, comparison.summary))
    for name in ("flows", "distances"):
        folder.write(f"{name}.zarr", partial(save, getattr(comparison, name)))
    folder.write("results.zarr", partial(save, comparison.runs))
    folder.write("figure.png", partial(plots.save, plots.comparison(comparison)))


def write_benchmark(found: dict[str, Any], folder: Folder) -> None:
    """Write summary.json and figure.png of a benchmark into `folder`."""
    from . import plots, plots_benchmark

    folder.write("summary.json", partial(write_json, found))
    folder.write("figure.png", partial(plots.save, plots_benchmark.benchmark(found)))


def benchmark_table(found: dict[str, Any]) -> str:
    """The rows of a benchmark as text, one line for each point and backend."""
    lines = ["10^9 neuron-sample updates per second: median (least ... largest); share of the roofline", ""]
    axis = None
    for row in found["rows"]:
        if row["axis"] != axis:
            axis = row["axis"]
            lines += ["", f"over {axis}"] if len(lines) > 2 else [f"over {axis}"]
        rates = [row[name] / 1e9 for name in ("updates_per_second", "least", "largest")]
        share = f"{100 * row['roofline_share']:4.0f} %" if row["roofline_share"] else ""
        what = f"{axis} {row[axis]}, {row['mask']} masks, {row['dtype']}"
        lines.append(f"  {row['backend']:<8}{what:<44}{rates[0]:8.3f} ({rates[1]:.3f} ... {rates[2]:.3f})  {share}")
    peaks = [
        f"{p['multiply_adds'] / 1e9:.0f} ({p['dtype']}, {counted(p['threads'], 'thread')})" for p in found["roofline"]
    ]
    lines += ["", f"roofline, 10^9 multiply-adds per second: {', '.join(peaks)}"]
    lines += [
        f"left out for want of memory: {row['backend']}, {row['axis']} {row[row['axis']]}" for row in found["left_out"]
    ]
    return "\n".join(lines)


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write plain JSON: NumPy's numbers and arrays as numbers and lists, NaN and infinity as null."""
    path.write_text(json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


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


def percent(share: float) -> str:
    """A share in whole per cent, without a sign on zero."""
    return f"{round(100 * share)} %"


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<32}" + "".join(f"{cell:<26}" for cell in cells).rstrip()


def _cell(found: dict[str, float]) -> str:
    text = distance_text(found["distance"], found["error"])
    share = found.get("share_removed")
    return text if share is None or math.isnan(share) else f"{text}  {percent(share)}"
