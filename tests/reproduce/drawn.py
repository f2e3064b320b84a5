"""An experiment carried out through the door that users open, and all that is drawn and said of its results."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

import simdrop
from simdrop.output.folder import Folder
from simdrop.output.storage import save
from simdrop.output.summary import write_summary
from simdrop.reproduce import Experiment, Outcome, Reproduction, Settings, reproduce


def drawn(experiment: Experiment, settings: Settings) -> Outcome:
    """The outcome, after its table, its figure and every panel were made, and every variable was found in words."""
    found = reproduce(experiment.name, settings)
    text = found.table()
    assert all(row.quantity in text for row in found.outcome.rows)
    found.figure().canvas.draw()
    for name, variable in found.outcome.data.variables.items():
        assert {"long_name", "units"} <= set(variable.attrs), name
    assert set(experiment.words) <= set(found.outcome.data.variables)
    with tempfile.TemporaryDirectory() as place:
        _write(found, Path(place, "results"))
        _check_panels(experiment, Path(place, "results"))
    return found.outcome


def _write(found: Reproduction, place: Path) -> None:
    """What `save` writes, without the pictures, which take longest."""
    with Folder(place, "reproduce") as folder:
        folder.write("summary.json", partial(write_summary, "reproduce", found.summary))
        folder.write("results.zarr", partial(save, found.outcome.data))


def _check_panels(experiment: Experiment, folder: Path) -> None:
    """Every panel draws from a folder into the axes that it is given, and nowhere else."""
    assert experiment.panels
    figure = Figure()
    axis, other = figure.subplots(1, 2)
    for panel in experiment.panels:
        assert simdrop.plots.experiment(folder, panel, ax=axis) is axis
        assert axis.has_data(), panel
        assert axis.get_xlabel() or axis.get_ylabel(), panel
        assert figure.axes == [axis, other]
        assert not other.has_data()
        assert not figure.legends
        axis.clear()
