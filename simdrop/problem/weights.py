"""Weights of other libraries' networks, read and written: PyTorch, Keras, scikit-learn, named arrays.

None of these libraries is imported to read: a model is known by its attributes. What it holds is brought to two layers
of arrays, (units, inputs) each, and checked once.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.numbers import check_finite
from ..checks.words import counted, shown
from ..errors import InvalidInput

Array = NDArray[np.float64]

#: names of activations elsewhere, in lower case -> ours
ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}
#: our names -> layers of `torch.nn`
TORCH = {
    "tanh": "Tanh", "relu": "ReLU", "gelu": "GELU", "sigmoid": "Sigmoid", "softplus": "Softplus", "linear": "Identity",
}  # fmt: skip
#: layers that hold no weights and do nothing to the whole network
_NOTHING = ("dropout", "flatten", "inputlayer", "input")
#: what a module of PyTorch must have, where it has it, to be the activation of its name
_DEFAULTS = {"approximate": "none", "beta": 1, "threshold": 20}
#: losses -> activations of the output that belong to the loss, and not to the network
_OF_LOSS = {"logistic": ("sigmoid",), "softmax": ("softmax",), "squared-softmax": ("softmax",)}
#: ends of names -> whether the array is (inputs, units), as in Keras and JAX
_TURNED = {"weight": False, "kernel": True}
_KNOWN = (
    "a torch.nn.Sequential, a Keras model, a scikit-learn MLP, or named arrays: a and w, or two layers with names that"
    " end in weight (units, inputs) or kernel (inputs, units), and bias"
)


class Network(Protocol):
    """What is asked of a problem here."""

    @property
    def x(self) -> Array:
        """The data's inputs (n, d)."""
        ...

    @property
    def width(self) -> int:
        """Number of hidden neurons."""
        ...

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        ...

    @property
    def bias(self) -> bool:
        """Whether neurons have a bias."""
        ...

    @property
    def activation(self) -> str:
        """Its name."""
        ...

    @property
    def scale(self) -> float:
        """The output scale."""
        ...

    @property
    def loss(self) -> str:
        """Its name."""
        ...

    @property
    def keep_prob(self) -> float:
        """Probability to keep a neuron."""
        ...

    def split(self, theta: ArrayLike, /) -> tuple[NDArray[Any], NDArray[Any]]:
        """Output weights (..., c, m) and input weights (..., m, D)."""
        ...

    def join(self, a: ArrayLike, w: ArrayLike, /) -> NDArray[Any]:
        """The inverse of `split`."""
        ...

    def check_theta(self, theta: ArrayLike, /) -> Array:
        """Parameters that fit, in float64."""
        ...


class Named(NamedTuple):
    """An array with the name that messages give it; shape as it was given, `turned` where it is transposed."""

    name: str
    values: Array
    turned: bool = False

    @property
    def straight(self) -> Array:
        """The array as (units, inputs)."""
        return self.values.T if self.turned else self.values


@dataclass
class Dense:
    """One layer: its weights, its bias or None, and the name of the activation after it, None where it is not known."""

    weight: Named
    bias: Named | None = None
    activation: str | None = None


def imported(problem: Network, source: Any, *, keep_bias: bool) -> Array:
    """theta (P,) from `source`; raises InvalidInput, also for a bias of the outputs unless it is to be left out."""
    named = isinstance(source, Mapping)
    if named and set(source) in ({"a", "w"}, {"a", "w", "b"}):
        return _own(problem, source)
    layers = _layers(source)
    if len(layers) != 2:
        raise InvalidInput(
            f"source has {counted(len(layers), 'layer')} with weights, and a problem has 2: hidden neurons and outputs"
        )
    hidden, output = layers
    _check_activations(problem, hidden.activation, output.activation)
    inputs, width, outputs = problem.x.shape[1], problem.width, problem.n_outputs
    w = _fitting(hidden.weight, (width, inputs), ("units", "inputs"))
    a = _fitting(output.weight, (outputs, width), ("outputs", "units"))
    b = np.zeros((width, 1)) if hidden.bias is None else _fitting(hidden.bias, (width,), ("units",))[:, None]
    if not problem.bias and b.any():
        raise InvalidInput(
            f"{hidden.bias.name if hidden.bias else 'bias'}: this problem has bias=False: make one with bias=True"
        )
    if keep_bias and output.bias is not None and _fitting(output.bias, (outputs,), ("outputs",)).any():
        raise InvalidInput(
            f"{output.bias.name} is a bias of the outputs, {shown(output.bias.values.tolist())}, which this network"
            " does not have: output_bias='drop' leaves it out, and targets y - bias then have the same loss"
        )
    return np.asarray(problem.join(a / problem.scale, np.concatenate([w, b], axis=1) if problem.bias else w))


def exported(problem: Network, theta: Array, to: Literal["torch", "numpy"]) -> Any:
    """Parameters (..., P) as named arrays, or parameters (P,) as a module of PyTorch; raises InvalidInput."""
    a, w = problem.split(theta)
    cut = problem.x.shape[1]
    arrays = {"hidden.weight": w[..., :cut], "output.weight": problem.scale * a}
    if problem.bias:
        arrays["hidden.bias"] = w[..., cut]
    arrays = {
        name: np.array(arrays[name]) for name in ("hidden.weight", "hidden.bias", "output.weight") if name in arrays
    }
    return arrays if to == "numpy" else _torch(problem, theta, arrays)


def _torch(problem: Network, theta: Array, arrays: Mapping[str, Array]) -> Any:
    if theta.ndim != 1:
        raise InvalidInput(f"theta must be the parameters of one network for to='torch', got shape {theta.shape}")
    if problem.activation not in TORCH:
        raise InvalidInput(
            f"to='torch': PyTorch has no layer for activation {problem.activation!r}; to='numpy' has arrays"
        )
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise InvalidInput("to='torch' needs PyTorch: pip install torch") from None
    hidden = torch.nn.Linear(problem.x.shape[1], problem.width, bias=problem.bias, dtype=torch.float64)
    output = torch.nn.Linear(problem.width, problem.n_outputs, bias=False, dtype=torch.float64)
    with torch.no_grad():
        for name, layer in (("hidden", hidden), ("output", output)):
            layer.weight.copy_(torch.from_numpy(arrays[f"{name}.weight"]))
        if problem.bias:
            hidden.bias.copy_(torch.from_numpy(arrays["hidden.bias"]))
    activation = getattr(torch.nn, TORCH[problem.activation])()
    return torch.nn.Sequential(hidden, activation, torch.nn.Dropout(1 - problem.keep_prob), output).eval()


def _own(problem: Network, source: Mapping[str, Any]) -> Array:
    """theta from weights in our own layout, a (c, m) and w (m, D), or w (m, d) and b (m,)."""
    a, w = check_finite("a", source["a"]), check_finite("w", source["w"])
    if "b" in source:
        b = _fitting(Named("b", check_finite("b", source["b"])), (problem.width,), ("units",))
        w = np.concatenate([w, b[:, None]], axis=1) if w.ndim == 2 and len(w) == len(b) else w
    return np.asarray(problem.join(a, w))


def _layers(source: Any) -> list[Dense]:
    """The layers of any source; raises InvalidInput."""
    if isinstance(source, Mapping):
        return _of_names(source)
    if hasattr(source, "coefs_") and hasattr(source, "intercepts_"):
        return _of_scikit_learn(source)
    if hasattr(source, "state_dict") and hasattr(source, "modules"):
        return _of_torch(source)
    if hasattr(source, "layers") and hasattr(source, "get_weights"):
        return _of_keras(source)
    raise InvalidInput(f"source must be {_KNOWN}; got {shown(source)}")


def _of_names(source: Mapping[str, Any]) -> list[Dense]:
    layers: dict[str, Dense] = {}
    arrays = dict(_flat(source))
    for name, values in arrays.items():
        stem, kind = _parts(name)
        if kind in _TURNED:
            layers[stem] = Dense(Named(name, values, _TURNED[kind]))
        elif kind != "bias":
            raise InvalidInput(f"source has an array {name!r}, and must be {_KNOWN}")
    for name, values in arrays.items():
        stem, kind = _parts(name)
        if kind == "bias":
            if stem not in layers:
                raise InvalidInput(f"source has {name!r} without the weights of that layer: {', '.join(arrays)}")
            layers[stem].bias = Named(name, values)
    return list(layers.values())


def _flat(source: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Array]]:
    """The arrays of mappings inside mappings, by names that are joined with dots."""
    for key, value in source.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, _array(name, value)


def _parts(name: str) -> tuple[str, str]:
    """The layer and the kind of an array, from "0.weight", "dense/kernel:0" or "bias"."""
    plain = name.partition(":")[0].replace("/", ".")
    stem, _, kind = plain.rpartition(".")
    return stem, kind


def _of_scikit_learn(source: Any) -> list[Dense]:
    names = [str(source.activation)] * (len(source.coefs_) - 1) + [str(source.out_activation_)]
    return [
        Dense(
            Named(f"coefs_[{k}]", _array(f"coefs_[{k}]", weight), turned=True),
            Named(f"intercepts_[{k}]", _array(f"intercepts_[{k}]", bias)),
            ACTIVATIONS.get(name, name),
        )
        for k, (weight, bias, name) in enumerate(zip(source.coefs_, source.intercepts_, names, strict=True))
    ]


def _of_torch(source: Any) -> list[Dense]:
    """The layers of a module in the order of its modules; a Sequential tells its activations too."""
    ordered = type(source).__name__ == "Sequential"
    layers: list[Dense] = []
    for name, module in source.named_modules():
        kind = type(module).__name__
        if next(iter(module.children()), None) is not None:
            continue
        if kind == "Linear":
            weight = Named(f"{name}.weight", _array(f"{name}.weight", module.weight))
            bias = None if module.bias is None else Named(f"{name}.bias", _array(f"{name}.bias", module.bias))
            layers.append(Dense(weight, bias, "linear" if ordered else None))
        elif not kind.lower().startswith(_NOTHING):
            _add_activation(layers, name, kind, module)
    return layers


def _add_activation(layers: list[Dense], name: str, kind: str, module: Any) -> None:
    """Take a module without layers inside for the activation of the last layer; raises InvalidInput."""
    known = {ours.lower(): name for name, ours in TORCH.items()} | {"softmax": "softmax"}
    others = any(getattr(module, option, value) != value for option, value in _DEFAULTS.items())
    if kind.lower() not in known or others or not layers:
        raise InvalidInput(f"source has a layer {name!r}, {shown(module)}, which a problem does not have")
    layers[-1].activation = known[kind.lower()]


def _of_keras(source: Any) -> list[Dense]:
    layers: list[Dense] = []
    for layer in source.layers:
        kind = type(layer).__name__.lower()
        name = str(layer.name)
        if kind == "dense":
            arrays = [_array(f"{name} weights[{k}]", values) for k, values in enumerate(layer.get_weights())]
            bias = Named(f"{name}/bias", arrays[1]) if len(arrays) > 1 else None
            layers.append(Dense(Named(f"{name}/kernel", arrays[0], turned=True), bias, _called(layer.activation)))
        elif kind in ("activation", "relu", "softmax") and layers:
            layers[-1].activation = _called(layer.activation) if kind == "activation" else kind
        elif not kind.startswith(_NOTHING):
            raise InvalidInput(f"source has a layer {name!r}, {type(layer).__name__}, which a problem does not have")
    return layers


def _called(activation: Any) -> str:
    """The name of an activation of Keras, which is a function."""
    return str(getattr(activation, "__name__", "linear" if activation is None else activation)).lower()


def _check_activations(problem: Network, hidden: str | None, output: str | None) -> None:
    """Raise InvalidInput for activations that are not the problem's."""
    if hidden not in (None, problem.activation):
        raise InvalidInput(
            f"source has activation {hidden!r}, and the problem {problem.activation!r}: make one with it"
        )
    if output not in (None, "linear", *_OF_LOSS.get(problem.loss, ())):
        raise InvalidInput(
            f"source has {output!r} after its outputs, and the problem, with loss {problem.loss!r}, does not"
        )


def _array(name: str, values: Any) -> Array:
    """An array of any library as float64; raises InvalidInput."""
    if hasattr(values, "detach"):  # a tensor that has a gradient, or lies on a device
        values = values.detach().cpu()
        values = values.double() if hasattr(values, "double") else values
    return check_finite(name, values)


def _fitting(array: Named, wanted: tuple[int, ...], axes: Sequence[str]) -> Array:
    """The array as (units, inputs) where its shape is `wanted`; raises InvalidInput with the shape that was given."""
    if array.straight.shape == wanted:
        return array.straight
    if array.turned:
        wanted, axes = wanted[::-1], axes[::-1]
    shape = array.values.shape
    turned = "; it is transposed" if len(wanted) == 2 and shape == wanted[::-1] else ""
    raise InvalidInput(f"{array.name} must have shape {wanted} = ({', '.join(axes)}), got {shape}{turned}")
