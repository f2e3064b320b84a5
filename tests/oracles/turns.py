"""Numba's simulator of CUDA with lanes that take turns, each as far as its next barrier.

By itself it lets a thread for each lane run at once and polls them until all wait at a barrier: nearly all time goes
into switching between them. In turns one runs at a time and wakes the next itself.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


def take_turns() -> None:
    """Change the simulator of this process."""
    from numba.cuda.simulator import kernel

    thread, manager = kernel.BlockThread, kernel.BlockManager

    def run(self: Any) -> None:
        self.go.acquire()
        original(self)
        self.ended = True
        self._manager.back.release()

    def wait(self: Any) -> None:
        self._manager.back.release()
        self.go.acquire()
        if self.abort:
            raise RuntimeError("another lane failed")

    def run_block(self: Any, grid_point: Any, *args: Any) -> None:
        self.back = _locked()
        lanes = [thread(lambda: self._f(*args), self, grid_point, point, self._debug)
                 for point in np.ndindex(*self._block_dim)]  # fmt: skip
        for lane in lanes:
            lane.go, lane.ended = _locked(), False
            lane.start()
        live = lanes
        while live:
            for lane in live:
                lane.go.release()
                self.back.acquire()
            live = [lane for lane in live if not lane.ended]
            if failed := [lane.exception for lane in lanes if lane.exception]:
                for lane in live:
                    lane.abort = True
                    lane.go.release()
                    self.back.acquire()
                raise failed[0][0].with_traceback(failed[0][1])

    original = thread.run
    thread.run, thread.syncthreads, manager.run = run, wait, run_block


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock
