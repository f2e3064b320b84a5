"""Runs that outgrow one process: sweeps over settings, a store that survives, clusters.

A sweep is one TOML file:

[problem]                 # as for `simdrop compare`: data, width, keep_prob, activation, mask, init_seed, ...
data = "sin"
[simulate]                # lr, steps, members, seed, objective, optimizer, batch_size, svag, dtype, record, ...
steps = 200
keep = ["norm"]           # besides risks: the norm of the parameters, theta_mean, r1, accuracy, or a function of yours
                          # as module:name, called as those of simulate(observe=...), one number for each member
[noise]                   # masks, law, label, parameter, connect, part
masks = 2
[theory]
kinds = ["averaged"]      # flows, sme1 and sme2, whose distance from the ensemble's mean is measured
[sweep]
design = "grid"           # every combination; "list": the first of each, the second, ...; "random": `count` draws
                          # of lists or of { low, high, spacing }, by draw_seed
lr = [0.05, 0.1, 0.2]
keep_prob = { from = 0.1, to = 0.9, count = 9 }          # spacing = "log" for a geometric progression

All fields are those of `Point`; each may be fixed in its table or swept.
"""

from .design import Design, design, read
from .point import Point
from .run import Plan, plan, sweep
from .store import load, table

__all__ = ["Design", "Plan", "Point", "design", "load", "plan", "read", "sweep", "table"]
