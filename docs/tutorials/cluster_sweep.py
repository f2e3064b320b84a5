"""
A sweep on a cluster
====================

A sweep is one file. It runs in one process, on all cores, or on the workers of a Dask cluster, with the same numbers; a
sweep that was stopped goes on where it was.
"""

import tempfile
from pathlib import Path

import simdrop
from simdrop import scale

folder = Path(tempfile.mkdtemp())
(folder / "study.toml").write_text("""
[problem]
data = "sin"

[simulate]
lr = 0.05
steps = 200
members = 100

[theory]
kinds = ["gradient", "averaged", "modified"]

[sweep]
design = "grid"
width = [5, 10, 20, 40]
keep_prob = [0.5, 0.6, 0.7, 0.8, 0.9]
""")

# %%
# Look at the plan first. Points of one width share shapes and are trained in one launch; ``plan.seconds`` is an
# estimate from the speed of the machine that runs this line.

design = scale.read(folder / "study.toml")
plan = scale.plan(design)
print(plan.points, "points in", plan.launches, "launches,", f"{plan.disk / 1000:.0f} kB on disk")

# %%
# A job on a cluster can be cut off at any time. Here the first one is, after two launches:


def cut_off(stage, done, total):
    if done == 2:
        raise KeyboardInterrupt


try:
    scale.sweep(design, folder / "study", progress=cut_off)
except KeyboardInterrupt as error:
    print("stopped;", error.partial.sizes)

# %%
# The same script, submitted again with ``resume=True``, does what is left. ``resume`` begins where there is nothing,
# so one script serves for the first job and all that follow.

swept = scale.sweep(design, folder / "study", resume=True)
swept

# %%
# Where does the averaged flow predict the ensemble?

axes = simdrop.plots.sweep(swept, "distance", kind="averaged")
figure = axes.figure

# %%
# With workers of a cluster only the last call changes: ``workers=4`` starts four on this machine,
# ``scheduler="tcp://host:8786"`` sends the launches to a scheduler that is there. The page *Sweeps on a cluster* has
# the scripts for SLURM, Kubernetes and several GPUs.
