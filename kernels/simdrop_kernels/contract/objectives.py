"""What can be minimised.

Besides R_drop, R_S, R_S + R_1 and R_S + R_1 + R_2, with R̃_2 = (lr/4) |∇R_drop|² on the step's own masks
(Zhang & Xu, arXiv:2207.05952, section 5; their L1 is R_S + R_1):

L2  R_S + R̃_2      L3  R_drop - R̃_2      L4  R_drop - R_1      dropout+r2  R_drop + (penalty/4) |∇R_drop|²
"""

from __future__ import annotations

from typing import Literal

Objective = Literal["dropout", "risk", "risk+r1", "risk+r1+r2", "L2", "L3", "L4", "dropout+r2"]

OBJECTIVES: tuple[Objective, ...] = ("dropout", "risk", "risk+r1", "risk+r1+r2", "L2", "L3", "L4", "dropout+r2")
#: those that compiled kernels train; the gradients of the others hold products with Hessians
COMPILED: tuple[Objective, ...] = ("dropout", "risk", "risk+r1")


def draws_masks(objective: Objective) -> bool:
    """Whether a step of this objective draws dropout masks."""
    return not objective.startswith("risk")
