"""The table of an experiment, and the files that it leaves."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from simdrop_kernels.threads import one_thread

from ..output.numbers import plus_minus
from ..output.storage import save
from ..output.summary import write_summary
from ..provenance import machine, versions
from ..study.result import Result
from .experiment import Experiment, Outcome, Row, Settings
from .words import worded

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ..output.folder import Folder

COLUMNS = 118
#: the source of experiments that no paper has
BEYOND = "beyond the papers"


def listing(experiments: Iterable[Experiment]) -> str:
    """All experiments by name: source, what they show, minutes on two cores by default and with --full."""
    lines = [f"{'name':<24}{'source':<34}{'minutes':>8}{'--full':>8}", ""]
    for one in experiments:
        lines.append(f"{one.name:<24}{one.source:<34}{one.minutes:>8g}{one.full_minutes:>8g}")
        lines += textwrap.wrap(one.shows, COLUMNS, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def table(experiment: Experiment, outcome: Outcome) -> str:
    """The rows of an outcome as text: quantity, published, ours ± standard error over seeds, and the verdict."""
    lines = [f"{experiment.name}: {experiment.shows} ({experiment.source})", ""]
    widest = max(len(row.quantity) for row in outcome.rows) + 2
    between = max(len("published"), *(len(row.published) for row in outcome.rows)) + 2
    lines.append(f"  {'quantity':<{widest}}{'published':<{between}}{'ours':<22}rule")
    for row in outcome.rows:
        rule = f"{row.verdict}: {row.rule}" if row.rule else ""
        if row.verdict == "does not reproduce":
            rule += f" ({row.reason})"
        lines.append(f"  {row.quantity:<{widest}}{row.published:<{between}}{_ours(row):<22}{rule}".rstrip())
    lines.append("")
    for note in notes(experiment, outcome):
        lines += textwrap.wrap(note, COLUMNS, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def notes(experiment: Experiment, outcome: Outcome) -> list[str]:
    """The notes of an outcome, and why lines have no published number."""
    if all(row.published for row in outcome.rows):
        return list(outcome.notes)
    if experiment.source == BEYOND:
        why = "Lines without a published number: no paper that is known to us has the experiment."
    else:
        why = f"Lines without a published number: the paper states none ({experiment.source})."
    return [*outcome.notes, why]


def _ours(row: Row) -> str:
    known = math.isfinite(row.error) and row.error > 0
    return f"{plus_minus(row.ours, row.error) if known else f'{row.ours:.4g}'} {row.unit}".rstrip()


class Took(NamedTuple):
    """How long an experiment took, without its figure: by the clock, and on all processors together."""

    seconds: float
    processor_seconds: float


@dataclass(frozen=True, repr=False)
class Reproduction(Result):
    """An experiment of the papers that was run: its numbers next to the published ones, and its figure.

    Attributes
    ----------
    experiment : Experiment
        What was run.
    settings : Settings
        How it was run.
    outcome : Outcome
        Rows, data and notes.
    took : Took, optional
        How long it took, in seconds.
    """

    study = "reproduce"

    experiment: Experiment
    settings: Settings
    outcome: Outcome
    took: Took | None = None

    @property
    def summary(self) -> dict[str, Any]:  # type: ignore[override]  # made from the outcome
        """Source, settings, rows with their verdicts and notes, in plain values."""
        rows = [
            {
                "quantity": row.quantity, "ours": row.ours, "error": row.error, "unit": row.unit,
                "published": row.published, "rule": row.rule, "verdict": row.verdict, "reason": row.reason,
            }
            for row in self.outcome.rows
        ]  # fmt: skip
        return _about(self.experiment, self.settings) | {
            "passed": self.outcome.passed,
            "rows": rows,
            "notes": notes(self.experiment, self.outcome),
            "took": None if self.took is None else self.took._asdict(),
            "settings": dict(self.outcome.data.attrs),
        }

    def table(self) -> str:
        """The rows as text: quantity, published, ours with its standard error over seeds, and the verdict."""
        return table(self.experiment, self.outcome)

    def figure(self) -> Figure:
        """The experiment's figure."""
        return self.experiment.draw(self.outcome)

    def datasets(self) -> dict[str, xr.Dataset]:
        """All that the figure shows and more."""
        return {"results": self.outcome.data}


def carried_out(experiment: Experiment, settings: Settings) -> Reproduction:
    """Run an experiment, and take how long that takes.

    On one BLAS thread: matrices are small here, and several threads would wait for one another.
    """
    wall, processor = time.perf_counter(), time.process_time()
    with one_thread():
        outcome = experiment.run(settings)
    worded(outcome.data, experiment.words)
    took = Took(time.perf_counter() - wall, time.process_time() - processor)
    return Reproduction(experiment, settings, outcome, took)


def write_partial(experiment: Experiment, error: BaseException, settings: Settings, folder: Folder) -> None:
    """Write what an experiment that `error` stopped had measured: part-1.zarr, ..., and a summary.json that says so."""
    parts = {f"part-{number}.zarr": held for number, held in enumerate(settings.done, 1)}
    if not parts:
        return
    for name, (_, data) in parts.items():
        folder.write(name, partial(save, data))
    summary = {"interrupted": True, "reason": str(error) or type(error).__name__, "passed": None, "rows": []}
    summary["parts"] = {name: what for name, (what, _) in parts.items()}
    folder.write("summary.json", partial(write_summary, "reproduce", _about(experiment, settings) | summary))


def _about(experiment: Experiment, settings: Settings) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "source": experiment.source,
        "shows": experiment.shows,
        "full": settings.full,
        "seeds": settings.seeds,
        "interrupted": False,
        "versions": versions(),
        "machine": machine(),
    }
