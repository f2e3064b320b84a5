"""Steps with more noise than dropout in C: what they are called with, and where "numba" is faster."""

from __future__ import annotations

from typing import Any

from ..contract.equation import PART, TRAIN
from ..contract.step import Sizes, Step, svag_weights

#: what this kernel alone has besides dropout and minibatches: names of `Step.further`
FURTHER = ("law", "masks", "label", "parameter", "part", "svag", "train")
#: what it has too
_ALSO = ("weight_decay", "schedule of lr")
#: neuron·sample updates of a step, each weighted by its inputs and outputs, up to which members in the lanes of vectors
#: are faster than Numba's neurons: an Intel Xeon with AVX-512, 2.4 to 6.5 times for noises of training at 16 x 100 of
#: two inputs, 0.3 to 1.2 times at 32 x 1000; 1.3 to 2.8 times for stochastic equations at 15 x 50
_SMALL = 5000
#: the same where only the drift or only the noise of a step is taken, for which Numba needs a second pass over the
#: samples: 1.4 and 1.6 times Numba's speed at 32 x 1000 of two inputs, 12 members in lanes of 8
_SMALL_OF_A_PART = 100_000
#: the same for so few members that most lanes are empty
_FEW, _SMALL_OF_FEW = 4, 300


def needed(step: Step) -> bool:
    """Whether a step is for this kernel and no other of "native"."""
    return any(name in FURTHER for name in step.further)


def refuses(step: Step) -> str | None:
    """Why the kernel does not run such a step, or None."""
    further = [name for name in step.further if name not in FURTHER + _ALSO]
    further += ["loss"] * (step.network.loss != "squared")
    if further:
        beside = next(name for name in step.further if name in FURTHER)
        return f"{', '.join(further)} other than the default is not written for it beside {beside}"
    return None if step.objective == "dropout" else f"no noise is written in C beside objective {step.objective!r}"


def outrun(sizes: Sizes, part: str = "both") -> tuple[str, str] | None:
    """The backend that was measured to be faster at such sizes, with the reason, or None."""
    few = sizes.members is not None and sizes.members < _FEW
    largest = _SMALL_OF_FEW if few else _SMALL if part == "both" else _SMALL_OF_A_PART
    if sizes.samples * sizes.width * (sizes.inputs + sizes.outputs) <= largest:
        return None
    members = f"{sizes.members} of " if few else ""
    return "numba", f"vectors over neurons are faster for {members}{sizes.width} neurons on {sizes.samples} samples"


def config(step: Step, numbers: dict[str, int], options: tuple[float, ...], seed: int) -> tuple[Any, ...]:
    """The argument `config` of `_native.train_noisy`; numbers: those of names in C; options: of the optimizer."""
    network, noise = step.network, step.noise
    weights = (2, *svag_weights(step.svag)) if step.svag else (1, 1.0, 0.0)
    return (
        numbers["activation"], numbers["mask"], TRAIN[network.train], PART[noise.part], noise.gaussian, noise.replace,
        noise.masks, noise.batch_size or 0, network.output_scale, noise.label, noise.parameter, *weights,
        numbers["optimizer"], *options, seed,
    )  # fmt: skip
