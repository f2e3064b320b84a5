"""What the variables and coordinates of results are, in words and units, as xarray and its plots read them.

Nothing has a physical unit. Risks are in squared units of the targets where the loss is the squared one and in nats
where it is a logarithm; all else counts something, or is a pure number: "1".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .storage import texts

if TYPE_CHECKING:
    import xarray as xr

    from ..problem.layout import Layout

#: units of a risk by the loss of the problem
RISKS = {"squared": "y^2", "logistic": "nat", "softmax": "nat", "squared-softmax": "1"}
#: stand for those of the problem's risks and outputs
_RISK, _OUTPUT = "risk", "output"
#: units of a network's outputs: those of the targets with the squared loss
_OUTPUTS = {"squared": "y"}

#: name -> what it is, and its units
ABOUT: dict[str, tuple[str, str]] = {
    "time": ("time t = lr · step", "1"),
    "step": ("training step", "1"),
    "member": ("network of the ensemble", "1"),
    "kept": ("number of a member whose parameters are kept", "1"),
    "param": ("parameter, its place in theta", "1"),
    "param_i": ("parameter, its place in theta", "1"),
    "param_j": ("parameter, its place in theta", "1"),
    "param_kind": ("a: output weight, w: input weight, bias", "1"),
    "param_neuron": ("hidden neuron of a parameter", "1"),
    "param_input": ("input of an input weight, the bias last; -1 for output weights", "1"),
    "param_output": ("output of an output weight; -1 for input weights", "1"),
    "quantile": ("level of the quantile", "1"),
    "grid": ("inputs at which functions are recorded", "1"),
    "kind": ("prediction", "1"),
    "quantity": ("what is compared: the mean of this", "1"),
    "lr": ("learning rate", "1"),
    "keep_prob": ("probability to keep a neuron", "1"),
    "seed": ("seed of the masks", "1"),
    "place": ("where dropout acts", "1"),
    "theta": ("parameters", "1"),
    "risk": ("risk R_S, without dropout", _RISK),
    "test_risk": ("risk on the test set, without dropout", _RISK),
    "r1": ("R_1, what dropout adds to the risk on average", _RISK),
    "r2": ("R_2, what finite steps add to the loss", _RISK),
    "loss": ("loss", _RISK),
    "modified_loss": ("R_S + R_1 + R_2", _RISK),
    "mean_risk": ("mean of the loss under dropout", _RISK),
    "accuracy": ("share of the samples that are classified right", "1"),
    "test_accuracy": ("share of the test set that is classified right", "1"),
    "f": ("output of the network, without dropout", _OUTPUT),
    "norm": ("2-norm of the parameters", "1"),
    "alive": ("members counted in the means", "1"),
    "diverged": ("first step that took a parameter beyond its limit, or -1", "1"),
    "blown_up": ("first record step with a risk above its limit, or -1", "1"),
    "theta_cov": ("covariance of the parameters over members", "1"),
    "neuron_covariance": ("covariance of each neuron's (a_1, ..., a_c, w)", "1"),
    "truncation": ("bound on what was cut off the covariance, relative to it", "1"),
    "residual": ("f(x) - y that dropout keeps, to O(v)", _OUTPUT),
    "training_time": ("training time t = lr · step of each slow time", "1"),
    "state_theta": ("parameters after the last step", "1"),
    "state_risk_limit": ("risk above which a member has blown up", _RISK),
    "state_number": ("number that the masks of a member are drawn by", "1"),
    "state_moment": ("moments of the optimizer after the last step", "1"),
}
#: of `time` where a result goes along the zero-loss manifold
SLOW_TIME = {"long_name": "slow time τ = v t", "units": "1"}
#: ends of names -> what they make of a name
_ENDS = {
    "_mean": "mean over members of: {}",
    "_std": "standard deviation over members of: {}",
    "_quantile": "quantiles over members of: {}",
    "_error": "standard error of: {}",
}


def described(data: xr.Dataset, own: Mapping[str, str] | None = None, *, skip: Iterable[str] = ()) -> xr.Dataset:
    """The dataset with long_name and units of all that simdrop knows; what has some keeps them.

    own: what further variables are, pure numbers; skip: names that are the user's own. Units of risks are those of the
    attribute `loss`.
    """
    loss, users, own = str(data.attrs.get("loss", "squared")), set(skip), own or {}
    for name, variable in data.variables.items():
        if name in users:
            continue
        known = {"long_name": own[str(name)], "units": "1"} if name in own else about(str(name), loss)
        for key, value in known.items():
            variable.attrs.setdefault(key, value)
    return data


def with_parameters(data: xr.Dataset, problem: Layout) -> xr.Dataset:
    """The dataset with coordinates along its parameters, those of `of_parameters`."""
    places = {"param": np.arange(problem.n_params)}
    return data.assign_coords(places | {name: ("param", values) for name, values in of_parameters(problem).items()})


def of_parameters(problem: Layout) -> dict[str, NDArray[Any]]:
    """Kind, neuron, input and output of each parameter (P,), by the names of coordinates."""
    outputs, inputs, width = problem.n_outputs, problem.n_inputs, problem.width
    a, w = outputs * width, width * inputs
    kinds = np.repeat(texts(("a", "w")), (a, w))
    if problem.bias:
        kinds[a + inputs - 1 :: inputs] = "bias"
    return {
        "param_kind": kinds,
        "param_neuron": np.concatenate([np.tile(np.arange(width), outputs), np.repeat(np.arange(width), inputs)]),
        "param_input": np.concatenate([np.full(a, -1), np.tile(np.arange(inputs), width)]),
        "param_output": np.concatenate([np.repeat(np.arange(outputs), width), np.full(w, -1)]),
    }


def about(name: str, loss: str = "squared") -> dict[str, str]:
    """The attributes of a variable by its name; none where the name is not known."""
    if name in ABOUT:
        text, units = ABOUT[name]
        return {
            "long_name": text,
            "units": {_RISK: RISKS.get(loss, "1"), _OUTPUT: _OUTPUTS.get(loss, "1")}.get(units, units),
        }
    for prefix, words in (("group_", "of a group of members: {}"), ("kept_", "of a kept member: {}")):
        if name.startswith(prefix):
            return _told(words, about(name.removeprefix(prefix), loss))
    for end, words in _ENDS.items():
        if name.endswith(end):
            return _told(words, about(name.removesuffix(end), loss))
    return {}


def _told(words: str, found: dict[str, str]) -> dict[str, str]:
    return {**found, "long_name": words.format(found["long_name"])} if found else {}
