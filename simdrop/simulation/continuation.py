"""The state of a run at its end, kept in its results or its checkpoint, and read there by a run that goes on from it.

What is random in a step is a function of its number. So the parameters, the optimizer's moments, the members that are
lost and the number of the last step are all that a run needs to become the one that never stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels.contract.step import Ensemble, Step

from ..checks.numbers import in_native_order
from ..checks.sizes import check_memory
from ..checks.words import check_path, counted, shown
from ..errors import InvalidInput
from ..problem import Noise, Problem, check_problem
from ..provenance import of_problem
from ..schedule import parse
from ..settings.defaults import DTYPE
from .places import check_places, in_words, numbered
from .settings import Settings

if TYPE_CHECKING:
    import xarray as xr

#: of a state; another one is refused
FORMAT = 1
#: the attribute of results with the settings of a state
ATTRIBUTE = "state"
#: arguments of `simulate` that are taken from the state where they are left out -> what they are without one
DEFAULTS = {"seed": 0, "objective": "dropout", "optimizer": "sgd", "dtype": DTYPE, "replace": False}
#: names in messages for what is not an argument of its own
_NAMES = {"data_sha256": "x or y", "activation_sha256": "activation", "n_samples": "x", "n_outputs": "y"}


class State:
    """The arrays of M members that a run leaves, named as in `PreviousRun`."""

    @classmethod
    def of(cls, settings: Settings, step: Step) -> State:
        """Room for what a run leaves; raises InvalidInput where the machine has none."""
        params, moments = settings.theta0.shape[-1], step.optimizer.moments
        size = float(settings.dtype.itemsize) * settings.members * params * (1 + moments)
        check_memory({f"keep_state, members={settings.members} with {counted(1 + moments, 'vector')} each": size})
        return cls(settings, params, moments)

    def __init__(self, settings: Settings, params: int, moments: int) -> None:
        members = settings.members
        self.theta = np.empty((members, params), dtype=settings.dtype)
        self.moments = np.empty((members, moments, params), dtype=settings.dtype)
        self.risk_limit = np.empty(members)
        self.numbers = np.arange(members) if settings.numbers is None else settings.numbers.astype(np.int64)
        self.seeds, self.keep_prob, self.lr = (
            np.array(values) for values in (settings.seeds, settings.keep_prob, settings.lr)
        )
        if settings.place is not None:
            self.place = numbered(settings.place)

    def take(self, first: int, ensemble: Ensemble, limits: NDArray[np.float64]) -> None:
        """Copy a block at its last step, which begins with member `first`."""
        block = slice(first, first + len(ensemble.theta))
        self.theta[block], self.moments[block], self.risk_limit[block] = ensemble.theta, ensemble.moments, limits

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays themselves, as a checkpoint holds them."""
        return {f"state.{name}": array for name, array in vars(self).items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class PreviousRun:
    """A run to go on with: where it was after `step`, and its settings as plain values.

    theta (M, P) and moments (M, k, P) have the dtype of the run; diverged, blown_up, risk_limit, numbers, lr,
    keep_prob and seeds have shape (M,), place too where dropout acts in different ones, in words.
    per_member: what was given for each member
    """

    step: int
    time: float | None
    settings: Mapping[str, Any]
    theta: NDArray[np.floating]
    moments: NDArray[np.floating]
    diverged: NDArray[np.int64]
    blown_up: NDArray[np.int64]
    risk_limit: NDArray[np.float64]
    numbers: NDArray[np.int64]
    lr: NDArray[np.float64] | None
    keep_prob: NDArray[np.float64]
    seeds: NDArray[np.uint64]
    place: NDArray[np.str_] | None = None

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Members (M,) that go on."""
        return (self.diverged < 0) & (self.blown_up < 0)

    @property
    def per_member(self) -> tuple[str, ...]:
        """What was given for each member."""
        return tuple(self.settings["per_member"])

    def has_rates(self, lr: NDArray[np.float64]) -> bool:
        """Whether the run had these learning rates (M,), at all steps."""
        return self.lr is not None and np.array_equal(self.lr, lr)

    def provenance(self) -> dict[str, Any]:
        """Attributes of the results: where the run came from."""
        return {"first_step": self.step, "went_on_from": f"step {self.step} of the run of {self.settings['created']}"}

    def into(self, first: int, ensemble: Ensemble) -> None:
        """Fill a block that begins with member `first`."""
        block = slice(first, first + len(ensemble.theta))
        ensemble.theta[...], ensemble.moments[...] = self.theta[block], self.moments[block]
        ensemble.diverged[...] = self.diverged[block]

    def fill(self, problem: Problem, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `simulate`, those that were left out as the run had them. Raises InvalidInput.

        `steps`, which counts from here, becomes the number of the last step.
        """
        _refuse(self.settings["problem"], of_problem(check_problem(problem)))
        stored, found = self.settings, dict(given)
        if self.theta.shape[1] != problem.n_params:
            raise InvalidInput(
                f"theta0: its state has {self.theta.shape[1]} parameters of each member, the problem {problem.n_params}"
            )
        if given["members"] not in (None, len(self.theta)):
            raise InvalidInput(
                f"members: theta0 is the state of a run with {counted(len(self.theta), 'member')}, got"
                f" {shown(given['members'])}: leave it out, or take some of them by runs.isel(member=slice(0, 3))"
            )
        arrays = {"lr": self.lr, "keep_prob": self.keep_prob, "seed": self.seeds, "place": self.place}
        had: dict[str, Any] = {
            name: values if values is None or name in self.per_member else values[0].item()
            for name, values in arrays.items()
        }
        had |= {name: stored[name] for name in ("optimizer", "dtype")} | {"members": len(self.theta)}
        had |= {"svag": stored["svag"] or None, "numbers": self.numbers}
        if given["optimizer"] in (None, stored["optimizer"]):
            had["optimizer_options"] = stored["optimizer_options"]
        if given["noise"] is None and given["batch_size"] is None and given["replace"] is None:
            had["noise"] = Noise(**stored["noise"])
        if given["objective"] is None:
            had["objective"] = {int(first): name for first, name in stored["objective"].items()}
            if "dropout+r2" in had["objective"].values():
                had["penalty"] = stored["penalty"]
        had |= {"replace": False} if given["replace"] is None else {}
        if stored.get("schedule") is not None:
            had["lr"] = _schedule(stored["schedule"])
        found |= {name: value for name, value in had.items() if found[name] is None}
        if found["lr"] is None:
            raise InvalidInput("lr is missing: the learning rates of these runs changed, so give the schedule again")
        return found


def _schedule(text: str) -> Any:
    """The schedule that a text in results stands for; None where it has arrays, which a text does not hold."""
    try:
        return parse(text)
    except InvalidInput:
        return None


def refuse_other(previous: PreviousRun, settings: Settings, step: Step) -> None:
    """Raise InvalidInput, with the difference named, unless a run may go on with these settings and this step."""
    kept = {name: previous.settings[name] for name in of_step(settings, step)}
    _refuse(_flat(kept), _flat(of_step(settings, step)))
    arrays = {
        "keep_prob": (previous.keep_prob, settings.keep_prob),
        "seed": (previous.seeds, settings.seeds),
        "numbers": (previous.numbers, settings.numbers),
        "place": (previous.place, settings.place),
    }
    for name, (had, now) in arrays.items():
        if not np.array_equal(had, now):  # type: ignore[arg-type]  # numbers are always given then
            raise InvalidInput(f"{name}: theta0 is the state of a run with another {name}: leave it out")


def of_step(settings: Settings, step: Step) -> dict[str, Any]:
    """What a run that goes on must share with the one before, as plain values."""
    options = {"optimizer": step.optimizer.name, "optimizer_options": asdict(step.optimizer)}
    return {"dtype": str(settings.dtype), **options, "noise": asdict(step.noise), "svag": step.svag}


def _flat(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by argument, the options of the optimizer and the fields of the noise on the same level."""
    inner = {name: value for part in stored.values() if isinstance(part, Mapping) for name, value in part.items()}
    return {name: value for name, value in stored.items() if not isinstance(value, Mapping)} | inner


def _refuse(had: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InvalidInput, with the first difference named, unless the two agree."""
    for name in {**had, **now}:
        if had.get(name) == now.get(name):
            continue
        what = _NAMES.get(name, name)
        if name in ("data_sha256", "activation_sha256"):
            raise InvalidInput(f"{what}: theta0 is the state of a run with another {what}")
        raise InvalidInput(
            f"{what}: theta0 is the state of a run with {what}={had.get(name)!r}, which goes on with no other, got"
            f" {now.get(name)!r}"
        )


def complete(problem: Problem, theta0: object, given: Mapping[str, Any]) -> tuple[PreviousRun | None, dict[str, Any]]:
    """The run that theta0 stands for, or None where it is an array, and the arguments with nothing left out."""
    previous = _previous(theta0)
    if previous is not None:
        return previous, previous.fill(problem, given)
    if given["lr"] is None:
        raise InvalidInput("lr is missing: give a learning rate")
    return None, dict(given) | {name: value for name, value in DEFAULTS.items() if given[name] is None}


def _previous(theta0: object) -> PreviousRun | None:
    """The run of a dataset or of a path: results, a folder with them, or a checkpoint. Raises InvalidInput."""
    if hasattr(theta0, "data_vars"):
        return _of_dataset(theta0)  # type: ignore[arg-type]
    if isinstance(theta0, (str, os.PathLike)):
        return _of_path(check_path("theta0", theta0))
    return None


def _of_path(path: Path) -> PreviousRun:
    from ..output.storage import SUFFIXES, load
    from .checkpoint import Torn, read

    if not path.exists():
        raise InvalidInput(f"theta0: there is no file or folder {str(path)!r}")
    if path.is_dir() and path.suffix not in SUFFIXES:
        path = path / "results.zarr"
    if path.suffix in SUFFIXES:
        return _of_dataset(load(path))
    try:
        header, arrays = read(path)
    except (OSError, Torn) as error:
        raise InvalidInput(f"theta0: {str(path)!r} is neither results nor a checkpoint: {error}") from None
    if ATTRIBUTE not in header:
        raise InvalidInput(
            f"theta0: checkpoint {str(path)!r} has no state to go on from: a run with keep_state=True leaves one at its"
            " end; resume=True continues a run that was stopped"
        )
    held = "recorder.state."
    found = {name.removeprefix(held): array for name, array in arrays.items() if name.startswith(held)}
    found |= {"place": in_words(found["place"])} if "place" in found else {}
    return _checked(header[ATTRIBUTE], found | {name: arrays[f"recorder.{name}"] for name in ("diverged", "blown_up")})


def _of_dataset(data: xr.Dataset) -> PreviousRun:
    if ATTRIBUTE not in data.attrs or "state_theta" not in data:
        held = ", ".join(map(str, data.data_vars))
        raise InvalidInput(
            "theta0 has no state to go on from: make the runs with keep_state=True, or pass an array, one of the"
            f" variables {held}"
        )
    if "member" not in data["state_theta"].dims:
        raise InvalidInput(
            "theta0: its state cannot be read: it has no dimension 'member'; one member is runs.isel(member=[0])"
        )
    try:
        stored = json.loads(data.attrs[ATTRIBUTE])
        theta = data["state_theta"].transpose("member", "param").values
        none = np.empty((len(theta), 0, theta.shape[1]), dtype=theta.dtype)
        found = {
            "theta": theta,
            "moments": data["state_moment"].transpose("member", "moment", "param").values
            if "state_moment" in data
            else none,
            "risk_limit": data["state_risk_limit"].values,
            "numbers": data["state_number"].values,
            "diverged": data["diverged"].values,
            "blown_up": data["blown_up"].values,
            "keep_prob": data["keep_prob"].values,
            "lr": _last_rates(data) if "lr" in data.coords and stored.get("schedule") is None else None,
            "seeds": data["seed"].values if "seed" in stored["per_member"] else np.uint64(stored["seed"]),
            "place": check_places(data["place"].values) if "place" in stored["per_member"] else None,
        }
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidInput(f"theta0: its state cannot be read: {type(error).__name__} {error}") from None
    return _checked(stored, found)


def _last_rates(data: xr.Dataset) -> NDArray[np.float64]:
    """The learning rates () or (M,) of the last step, also of results that were joined."""
    rates = data["lr"]
    if "time" in rates.dims:
        rates = rates.isel(time=int(np.argmax(data["step"].values)))
    return np.asarray(rates.values)


def _checked(stored: Mapping[str, Any], arrays: dict[str, Any]) -> PreviousRun:
    """The run of a state that was read; raises InvalidInput for another format or shape, or where nobody is left."""
    if stored.get("format") != FORMAT:
        raise InvalidInput(f"theta0: its state is of format {stored.get('format')}, of another version of simdrop")
    arrays = {name: in_native_order(one) if isinstance(one, np.ndarray) else one for name, one in arrays.items()}
    theta = arrays["theta"]
    if theta.ndim != 2 or not len(theta):
        raise InvalidInput(f"theta0: its state must have members and parameters, got shape {theta.shape}")
    each: dict[str, Any] = {name: np.broadcast_to(arrays[name], len(theta)) for name in ("keep_prob", "seeds")}
    each["lr"] = None if arrays["lr"] is None else np.broadcast_to(arrays["lr"], len(theta))
    previous = PreviousRun(step=stored["step"], time=stored["time"], settings=stored, **(arrays | each))
    if not previous.alive.any():
        raise InvalidInput("theta0: all members of these runs diverged: there is none to go on with")
    return previous


def shifted(
    times: NDArray[np.float64] | None, previous: PreviousRun | None, at_start: float
) -> NDArray[np.float64] | None:
    """The times of record steps: as the run had them before, also where its learning rate was another.

    at_start: what the time of the first step would be at the learning rate of now
    """
    if previous is None or times is None:
        return times
    if previous.time is None:
        return None
    return times if previous.time == at_start else previous.time + (times - at_start)


def with_state(data: xr.Dataset, state: State, stored: Mapping[str, Any]) -> xr.Dataset:
    """Results with the state that the run left, in variables and an attribute."""
    found = data.assign(
        state_theta=(("member", "param"), state.theta),
        state_risk_limit=("member", state.risk_limit),
        state_number=("member", state.numbers),
    )
    if state.moments.shape[1]:
        found = found.assign(state_moment=(("member", "moment", "param"), state.moments))
    return found.assign_attrs({ATTRIBUTE: json.dumps(stored)})
