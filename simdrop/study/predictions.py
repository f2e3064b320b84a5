"""The table of predictions: what theories of dropout say of an ensemble, by name.

Every study, table, figure and command reads this table. A theory that is a flow is added by its file in
`simdrop.theory.flows`, which declares how it is followed, and an entry here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..checks.words import check_names
from ..errors import InvalidInput, RenamedWarning
from ..output.style import INK

if TYPE_CHECKING:
    from ..problem import Noise, Problem
    from .case import Case, Means, Predicted
    from .distances import Array


#: what an entry of the argument `kinds` of studies may be
PredictionKind = Literal[
    "gradient", "averaged", "second-order", "modified", "mean-covariance", "sme1", "sme2", "pathwise-plain", "pathwise",
    "manifold",
]  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a prediction is drawn: colour (Okabe and Ito's, which colour-blind readers tell apart), line, marker."""

    color: str
    line: Any
    width: float
    marker: str

    @property
    def curve(self) -> dict[str, Any]:
        """Arguments of `plot` for a curve over time."""
        return {"color": self.color, "ls": self.line, "lw": self.width}

    @property
    def dots(self) -> dict[str, Any]:
        """Arguments of `plot` for dots over learning rates."""
        return {"color": self.color, "marker": self.marker}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a theory says of an ensemble.

    Attributes
    ----------
    name : str
        By which every study takes it, as one of `kinds`.
    title : str
        Of rows and legends.
    formula : str
        The loss that it descends, in the papers' symbols, which are TeX too; empty where there is none.
    words : str
        What sentences call it.
    sentence : str
        What it is, for readers who have not met it.
    order : int
        Its claim: the distance between it and the ensemble's means falls as lr to this power.
    spread : int
        Its claim for the covariance, which is of order 1 itself; 0 where it says nothing of it.
    look : Look
        How it is drawn.
    mean : callable or None
        From a `Case` what it predicts of the ensemble's means; raises FlowFailed and Diverged. None where it predicts
        single members.
    members : callable or None
        From a `Case` and a number of members the parameters (M, P) of the first members at the end; raises FlowFailed.
    equation : int or None
        The order of the stochastic modified equation whose paths it is, None where it is not sampled.
    refusal : callable or None
        From a problem and a start (P,) why it says nothing there, in one line, or None. None for a prediction that
        holds from any start: only those are taken by default.
    """

    name: str
    title: str
    formula: str = ""
    words: str
    sentence: str
    order: int
    look: Look
    spread: int = 0
    mean: Callable[[Case], Predicted] | None = None
    members: Callable[[Case, int], Array] | None = None
    equation: int | None = None
    refusal: Callable[[Problem, Array], str | None] | None = None

    @property
    def label(self) -> str:
        """Title and formula in one line."""
        return f"{self.title} {self.formula}".rstrip()

    def claim(self, quantity: str) -> int:
        """Return the order that it claims for a quantity.

        Parameters
        ----------
        quantity : str
            "parameters", "function", "risk" or "covariance".

        Returns
        -------
        int
            The order in lr; 0 where it claims none.
        """
        return self.spread if quantity == "covariance" else self.order

    @property
    def legend(self) -> str:
        """The label as TeX."""
        return f"{self.title}, ${self.formula}$" if self.formula else self.title


def _of_case(function: str, *first: Any) -> Callable[..., Any]:
    """The function of `case` with its first arguments. Its module loads at the first call: help only lists names."""

    def call(*others: Any) -> Any:
        from . import case

        return getattr(case, function)(*first, *others)

    return call


def _table(*predictions: Prediction) -> dict[str, Prediction]:
    return {one.name: one for one in predictions}


#: all predictions by name, in the order of tables and legends
PREDICTIONS = _table(
    Prediction(
        name="gradient", title="plain gradient flow", formula="R_S", words="plain gradient flow", order=0,
        sentence="Plain gradient flow descends the risk without dropout.",
        look=Look("#D55E00", (0, (5, 2)), 1.6, "v"), mean=_of_case("along_flow", "gradient"),
    ),
    Prediction(
        name="second-order", title="second-order flow", words="the second-order flow", order=0,
        sentence="The second-order flow adds R_1 to second order in the deviations of the outputs, an approximation"
        " for losses other than the squared one: it claims no order in lr.",
        look=Look("#882255", (0, (6, 1, 1, 1)), 1.6, "P"), mean=_of_case("along_flow", "second-order"),
        refusal=_of_case("averaged_already"),
    ),
    Prediction(
        name="averaged", title="averaged flow", formula="R_S + R_1", words="the averaged flow", order=1,
        sentence="The averaged flow adds R_1, the mean effect of dropout.",
        look=Look("#0072B2", (0, (3, 1, 1, 1)), 1.8, "s"), mean=_of_case("along_flow", "averaged"),
    ),
    Prediction(
        name="modified", title="modified flow", formula="R_S + R_1 + R_2", words="the modified flow", order=1,
        sentence="The modified flow adds R_1 and R_2, the effect of a finite learning rate.",
        look=Look("#009E73", "-", 1.4, "o"), mean=_of_case("along_flow", "modified"),
    ),
    Prediction(
        name="mean-covariance", title="mean-covariance flow", words="the mean-covariance flow", order=2, spread=2,
        sentence="The mean-covariance flow follows mean and covariance of the networks together.",
        look=Look("#CC79A7", (0, (1, 1)), 1.8, "D"), mean=_of_case("along_moments", "mean-covariance"),
    ),
    Prediction(
        name="sme1", title="SME of order 1", words="the SME of order 1", order=1, spread=2, equation=1,
        sentence="The SME of order 1 is an ensemble of paths along the averaged flow, with the noise of a step.",
        look=Look("#56B4E9", "--", 1.4, "<"), mean=_of_case("along_paths", 1),
    ),
    Prediction(
        name="sme2", title="SME of order 2", words="the SME of order 2", order=2, spread=2, equation=2,
        sentence="The SME of order 2 is an ensemble of paths whose drift is corrected for a finite learning rate.",
        look=Look("#E69F00", "-.", 1.6, ">"), mean=_of_case("along_paths", 2),
    ),
    Prediction(
        name="pathwise-plain", title="plain pathwise flow", words="the plain pathwise flow", order=1,
        sentence="The plain pathwise flow descends the loss under the masks of one network.",
        look=Look("#999999", (0, (4, 1)), 1.4, "X"), members=_of_case("members_along", False),
    ),
    Prediction(
        name="pathwise", title="corrected pathwise flow", words="the corrected pathwise flow", order=2,
        sentence="The corrected pathwise flow adds to it the effect of a finite learning rate.",
        look=Look(INK, "-", 1.2, "*"), members=_of_case("members_along", True),
    ),
    Prediction(
        name="manifold", title="flow along zero loss", formula="R_1", words="the flow along the zero-loss manifold",
        order=0, sentence="The flow along the zero-loss manifold descends R_1 among the networks without error.",
        look=Look("#8C564B", (0, (5, 1, 1, 1, 1, 1)), 1.6, "p"), mean=_of_case("along_manifold"),
        refusal=_of_case("far_from_zero_loss"),
    ),
)  # fmt: skip
#: what `compare` takes by default: the flows of a loss
FLOWS: tuple[PredictionKind, ...] = ("gradient", "averaged", "modified")
#: what predicts the means of an ensemble
OF_MEANS = tuple(name for name, one in PREDICTIONS.items() if one.mean)
#: what holds from any start
ANYWHERE = tuple(name for name, one in PREDICTIONS.items() if one.refusal is None)


def predict(name: str, case: Case) -> Means:
    """The means at the end of a case that a prediction of means gives. Raises FlowFailed, Diverged."""
    one = PREDICTIONS[name]
    assert one.mean is not None
    return one.mean(case).at_end()


def equations(kinds: Iterable[str]) -> list[int]:
    """The orders of the stochastic modified equations among `kinds`."""
    found = (PREDICTIONS[kind].equation for kind in kinds)
    return [order for order in found if order is not None]


def check_kinds(kinds: object, *, where: str = "") -> tuple[str, ...]:
    """`kinds`, one name or several, as names of predictions; raises InvalidInput.

    where : the study that compares means and refuses predictions of single members, or "" where they can be used
    """
    if not where:
        return check_names("kind", kinds, PREDICTIONS)
    for name in kinds if isinstance(kinds, (list, tuple)) else (kinds,):
        if isinstance(name, str) and name in PREDICTIONS and name not in OF_MEANS:
            raise InvalidInput(f"kind {name!r} predicts single members, and {where} compares means: use order for it")
    return check_names("kind", kinds, OF_MEANS)


#: masks times samples up to which a mean over all masks is taken by default: a flow asks for it hundreds of times
MOST_TERMS = 1 << 18


def default_kinds(problem: Problem, noise: Noise | None = None) -> tuple[str, ...]:
    """What `compare` takes by default: FLOWS, or with another loss than the squared one what holds for that."""
    placed = noise is not None and noise.place != "both"  # the averaged flow is plain gradient flow then
    if problem.loss == "squared":
        return tuple(kind for kind in FLOWS if kind != "averaged") if placed else FLOWS
    if placed:
        return ("gradient",)
    from ..theory.any_loss import unknown

    if unknown(problem) or problem.n_samples << problem.width > MOST_TERMS:
        return ("gradient", "second-order")
    return ("gradient", "second-order", "averaged")


def check_loss_of(kinds: Iterable[str], problem: Problem) -> None:
    """Raise InvalidInput where one of `kinds` is not known for the loss of the problem."""
    if problem.loss == "squared":
        return
    from ..theory.any_loss import unknown  # theory loads where it is used: the help of a command lists names alone
    from ..theory.flows.table import flows

    for kind in kinds:
        if kind not in flows() or not flows()[kind].any_loss:
            raise InvalidInput(f"kind {kind!r} is known for loss 'squared', the problem has {problem.loss!r}")
        if kind == "averaged" and (why := unknown(problem)):
            raise InvalidInput(
                f"kind 'averaged' needs the mean of loss {problem.loss!r} over masks: {why}; kind 'second-order'"
                " approximates it"
            )


def check_noise_of(kinds: Iterable[str], problem: Problem, noise: Noise | None) -> None:
    """Raise InvalidInput where one of `kinds` is a flow that steps with this noise do not have."""
    from ..theory.flows.table import flows

    for kind in kinds:
        check = flows()[kind].check_noise if kind in flows() else None
        if check is not None and noise is not None:
            check(problem, noise)


def check_start_of(kinds: Iterable[str], problem: Problem, theta0: Array) -> None:
    """Raise InvalidInput where one of `kinds` says nothing of networks that start at theta0 (P,)."""
    for kind in kinds:
        refusal = PREDICTIONS[kind].refusal
        if refusal is not None and (why := refusal(problem, theta0)):
            raise InvalidInput(f"kind {kind!r} does not serve here: {why}")


def renamed(kinds: Sequence[str] | None, theories: Sequence[str] | None) -> Sequence[str] | None:
    """`kinds`, which may be given by its old name; raises InvalidInput where both are given."""
    if theories is None:
        return kinds
    if kinds is not None:
        raise InvalidInput("theories is the old name of kinds: give kinds alone")
    warnings.warn("theories is now called kinds", RenamedWarning, stacklevel=3)
    return theories
