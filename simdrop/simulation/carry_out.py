"""How a run is carried out: its folder, its checkpoint and its progress, for simulate() and sme() alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks.numbers import check_flag, check_number
from ..checks.words import check_path
from ..errors import InvalidInput
from ..output.folder import Folder, opened
from ..output.progress import Progress, check_progress, telling
from .run import Run, keep, report_end

if TYPE_CHECKING:
    import xarray as xr

#: seconds between two checkpoints
CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where results and checkpoints of a run go, and what shows its progress; arguments as in `simulate`."""

    out: str | os.PathLike[str] | Folder | None = None
    overwrite: bool = False
    progress: Progress | bool = False
    checkpoint: Path | None = None
    resume: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    @classmethod
    def check(
        cls,
        *,
        out: str | os.PathLike[str] | Folder | None,
        overwrite: bool,
        progress: object,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> Output:
        """Raises InvalidInput; the folder itself is tried when it is opened."""
        if check_flag("resume", resume) and checkpoint is None:
            raise InvalidInput("resume=True needs a checkpoint: the file to continue from")
        return cls(
            out=out,
            overwrite=check_flag("overwrite", overwrite),
            progress=check_progress(progress),
            checkpoint=None if checkpoint is None else check_path("checkpoint", checkpoint),
            resume=resume,
            checkpoint_seconds=check_number("checkpoint_seconds", checkpoint_seconds, least=0),
        )


def carry_out(
    run: Run, output: Output, kind: str, *, describe: Callable[[bool], xr.Dataset],
    identity: Callable[[], dict[str, Any]] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Run to the end, keep what was recorded and return it.

    kind: what the folder and the stage are called; describe: makes the result, from whether the run was interrupted;
    identity: what another run must share to continue from the checkpoint. Raises as `simulate`.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(opened(output.out, kind, overwrite=output.overwrite))
        if output.checkpoint is not None and identity is not None:
            from .checkpoint import Checkpoint

            held = Checkpoint(output.checkpoint, identity(), resume=output.resume, seconds=output.checkpoint_seconds)
            run.checkpoint = stack.enter_context(held)
        stopped = run.go(kind, stack.enter_context(telling(output.progress)))
        if stopped is not None and not run.updates:
            raise stopped
        data = describe(stopped is not None)
        keep(data, folder, stopped)
        if run.checkpoint is not None and stopped is None and run.state is None:
            run.checkpoint.remove()
    report_end(data, stopped)
    return data
