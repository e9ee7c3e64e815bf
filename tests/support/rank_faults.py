"""Work of a team whose last rank comes to grief in the midst of a collective (`team.Team`).

The others write down what they got, and after how many seconds, into the folder that the variable
RANK_FAULTS names.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed as dist

from implementations._vocab_parallel.work import VocabParallel

FOLDER = "RANK_FAULTS"
PAUSE_S = 0.3


class Faulty(VocabParallel):
    """`kill`, `stop` and `raise` are what the last rank does to itself; else as our own work."""

    def __call__(
        self, operation: str, shard: torch.Tensor, classes: int, targets: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        if operation not in ("kill", "stop", "raise"):
            return super().__call__(operation, shard, classes, targets)
        if self.rank == self.ranks - 1:
            time.sleep(PAUSE_S)  # the others wait in the collective
            if operation == "raise":
                raise ValueError("this rank cannot")
            os.kill(os.getpid(), signal.SIGKILL if operation == "kill" else signal.SIGSTOP)
        began = time.monotonic()
        mine = torch.zeros(1)
        try:
            dist.all_gather([torch.zeros(1) for _ in range(self.ranks)], mine, group=self.group)
        except RuntimeError as error:
            told = {"seconds": time.monotonic() - began, "error": str(error)}
            time.sleep(PAUSE_S * self.rank)  # the first is told of it before the others say so
            Path(os.environ[FOLDER], str(self.rank)).write_text(json.dumps(told), encoding="utf-8")
            raise
        return (shard,)
