"""What the variables of experiments are, in words and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..output.variables import RISKS, described

if TYPE_CHECKING:
    import xarray as xr

#: name -> what it is, a pure number, or that and its units
Words = Mapping[str, "str | tuple[str, str]"]
#: units of a risk: all experiments have the squared loss
RISK = RISKS["squared"]

#: of variables that several experiments have
SHARED: Words = {
    "seed": "start: initial weights and masks of its own",
    "arm": "way to train",
    "mask": "whether masks are drawn for every step or for every sample of it",
    "objective": "loss that is trained on",
    "activation": "activation",
    "width": "neurons of the network",
    "n": "training samples",
    "alpha": "place on a line, in units of its direction",
    "orientation": ("orientation of a neuron's input weights", "rad"),
    "amplitude": "amplitude of a neuron, in units of the largest",
    "loss": ("R_S along the line", RISK),
}


def worded(data: xr.Dataset, own: Words) -> xr.Dataset:
    """The dataset with words and units of all variables: its own, then those shared here, then those of any result."""
    for name, said in {**SHARED, **own}.items():
        if name in data.variables:
            text, units = (said, "1") if isinstance(said, str) else said
            data[name].attrs = {"long_name": text, "units": units}
    return described(data)
