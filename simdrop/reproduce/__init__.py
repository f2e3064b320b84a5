"""The experiments of the papers by name: their numbers beside ours, and their figures.

Zhang & Xu, *Implicit Regularization of Dropout*, arXiv:2207.05952 (IRD); Zhang, Li, Luo & Xu, *Stochastic Modified
Equations and Dynamics of Dropout Algorithm*, arXiv:2305.15850 (SME). One module for each experiment.
"""

from __future__ import annotations

import importlib

from ..checks.words import check_choice
from .experiment import Experiment, Outcome, Row, Settings

__all__ = ["EXPERIMENTS", "Experiment", "Outcome", "Row", "Settings", "experiment"]

#: experiment name -> module; the order is that of the papers
EXPERIMENTS: dict[str, str] = {
    "relu-fit": "relu_fit",
    "r1": "r1",
    "r2": "r2",
    "condensation": "condensation",
    "switch": "switch",
    "batch": "batch",
    "orientation-similarity": "orientation_similarity",
    "sample-size": "sample_size",
    "small-init": "small_init",
    "flatness": "flatness",
    "four-losses": "four_losses",
    "barriers": "barriers",
    "sme": "sme",
    "noise-alignment": "noise_alignment",
    "teacher-recovery": "teacher_recovery",
    "activations": "activations",
    "noises": "noises",
}


def experiment(name: str) -> Experiment:
    """The experiment of that name. Raises InvalidInput, with the nearest known name, where there is none."""
    check_choice("experiment", name, EXPERIMENTS)
    found: Experiment = importlib.import_module(f".papers.{EXPERIMENTS[name]}", __package__).EXPERIMENT
    return found
