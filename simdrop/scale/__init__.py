"""Runs that outgrow one process: sweeps over settings, a store that survives, clusters."""

from .design import Design, design, read
from .point import Point
from .run import Plan, plan, sweep
from .store import load, table

__all__ = ["Design", "Plan", "Point", "design", "load", "plan", "read", "sweep", "table"]
