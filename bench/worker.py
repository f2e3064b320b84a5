"""A process that trains on request: JSON lines in, JSON lines out, so that contenders keep apart.

Each contender needs its environment before its library is imported (XLA_FLAGS) and its own thread pools.
Requests: {"prepare": id, "case", "module", "members", "threads", "options"} -> {"seconds": of the warm-up}
          {"run": id, "seed"} -> {"seconds", "cpu", "risks"}; {"drop": id} -> {}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

from common import Case, Trainer

#: members whose risks are evaluated after a run, at most
MOST_RISKS = 10_000


def main() -> None:
    # Libraries may print: answers go to the original standard output, everything else to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepared: dict[str, tuple[Case, Trainer]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answer(prepared, request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(prepared: dict[str, tuple[Case, Trainer]], request: dict[str, Any]) -> dict[str, Any]:
    if "drop" in request:
        prepared.pop(request["drop"], None)
        gc.collect()
        return {}
    started = time.perf_counter()
    if "prepare" in request:
        case = Case(**request["case"])
        module = importlib.import_module(f"peers.{request['module']}")
        trainer = module.prepare(case, request["members"], request["threads"], **request["options"])
        trainer.run(0)
        prepared[request["prepare"]] = case, trainer
        return {"seconds": time.perf_counter() - started}
    case, trainer = prepared[request["run"]]
    started, processor = time.perf_counter(), time.process_time()
    state = trainer.run(request["seed"])
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    return {"seconds": seconds, "cpu": processor, "risks": case.risk(trainer.theta(state)[:MOST_RISKS]).tolist()}


if __name__ == "__main__":
    main()
