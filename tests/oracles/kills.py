"""Kill a sweep with SIGKILL at random moments, again and again, and compare what it ends with to an undisturbed run.

python tests/oracles/kills.py --kills 100
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

from simdrop import scale

#: launches of about half a second, which save their state ten times
FILE = """
[problem]
data = "sin"
activation = "tanh"
[simulate]
steps = {steps}
members = 100
record = 51
dtype = "float64"
keep = ["norm", "theta_mean"]
[theory]
kinds = ["averaged"]
[sweep]
width = [{widths}]
lr = [0.01, 0.02]
"""
#: share of kills that fall before a process can have begun to work
EARLY = 0.1


def study(folder: Path, *, launches: int, steps: int) -> list[str]:
    """Write the file; the command that runs it, but for its folder."""
    file = folder / "study.toml"
    file.write_text(FILE.format(steps=steps, widths=", ".join(str(8 + k) for k in range(launches))))
    command = [sys.executable, "-m", "simdrop", "sweep", str(file), "--quiet", "--threads", "1"]
    return [*command, "--checkpoint-seconds", "0.05", "--out"]


def state(out: Path) -> dict[str, int]:
    """Files of launches and checkpoints, with the times at which they were last written."""
    try:
        return {str(path): path.stat().st_mtime_ns for path in out.glob("[lc][ah]*/*") if path.suffix != ".lock"}
    except FileNotFoundError:  # renamed in between
        return state(out)


def kill(command: list[str], out: Path, kills: int, seed: int, *, working: float) -> Counter[str]:
    """Run to the end with so many kills on the way; what each hit.

    A process is killed `working` seconds at most, uniformly drawn, after it first writes to the folder, or, EARLY of
    them, before it can.
    """
    random, hit = np.random.default_rng(seed), Counter[str]()
    while True:
        resume = ["--resume"] if (out / "sweep.json").exists() else []
        before, last = state(out), hit.total() == kills
        process = subprocess.Popen([*command, str(out), *resume])
        try:
            if not last and random.random() < EARLY:
                process.wait(timeout=random.uniform(0.0, 0.5))
            while not last and process.poll() is None and state(out) == before:
                time.sleep(0.01)
            assert process.wait(timeout=None if last else random.uniform(0, working)) == 0
            return hit
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        hit[_what(before, state(out))] += 1


def _what(before: dict[str, int], after: dict[str, int]) -> str:
    """What a process did in its life, and what it was killed at."""
    if before == after:
        return "before its first write"
    if any(Path(path).name.startswith(".") for path in after):
        return "in the middle of writing a file"
    done = any("/launches/" in path for path in after.keys() - before.keys())
    inside = any("/checkpoints/" in path for path in after)
    return f"{'after finishing a launch' if done else 'in its first launch'}, {'with' if inside else 'no'} checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--launches", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = study(folder, launches=args.launches, steps=args.steps)
        began = time.monotonic()
        subprocess.run([*command, str(folder / "whole")], check=True)
        print(f"undisturbed: {time.monotonic() - began:.1f} s for {args.launches} launches")
        hit = kill(command, folder / "killed", args.kills, args.seed, working=1.0)
        for what, count in hit.most_common():
            print(f"{count:4} {what}")
        xr.testing.assert_identical(scale.load(folder / "killed"), scale.load(folder / "whole"))
        print(f"{hit.total()} kills; the values are the same")


if __name__ == "__main__":
    main()
