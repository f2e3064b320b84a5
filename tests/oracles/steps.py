"""Steps and equations from flat keywords, as tests write them: make(mask="sample", label=0.1, optimizer="adam")."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from simdrop_kernels.contract.equation import Equation
from simdrop_kernels.contract.network import Network
from simdrop_kernels.contract.noise import Noise
from simdrop_kernels.contract.step import Step
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS


def _take(kind: type, given: dict[str, Any]) -> Any:
    """An object of a dataclass, from its fields among those given, which are taken out."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})


def make(optimizer: str = "sgd", **given: Any) -> Step:
    """The step whose parts have these fields."""
    parts = {"network": _take(Network, given), "noise": _take(Noise, given)}
    return Step(**parts, optimizer=_take(OPTIMIZERS[optimizer], given), **given)


def equation(**given: Any) -> Equation:
    """The equation whose parts have these fields; `order` is its own, that of minibatches has the same name."""
    own = {"order": given.pop("order")} if "order" in given else {}
    parts = {"network": _take(Network, given), "noise": _take(Noise, given)}
    return Equation(**parts, **given, **own)
