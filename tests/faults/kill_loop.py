"""One run, its coordinator killed with SIGKILL at random moments and resumed, again and again.

``python tests/faults/kill_loop.py 200`` (``tox -e kills``). In the end the run must equal one that
nobody disturbed, in everything but time, and nothing that it started may be left.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from harness.experiments.profiles import SMOKE, Profile, Timing
from harness.experiments.runner import Progress, Request, run
from harness.records.reader import Run, cell_key, read_run
from harness.registry.discovery import Implementation
from harness.worker.isolation.reaper import TOKEN_VARIABLE, bearers
from harness.worker.local import load

START_S = 1.2  # about what it takes until the first cell
MOMENT_S = 0.02  # kills come this long, on average, after something was heard
VARYING = {
    "id", "created", "finished", "seconds", "machine", "warnings", "command", "git_commit",
    "git_dirty",
}  # fmt: skip
FRAGILE = '''"""Dies of 3 classes, raises for 4."""
import os
import numpy as np


def softmax(x, axis=-1):
    if x.shape[axis] == 3:
        os.abort()
    if x.shape[axis] == 4:
        raise RuntimeError("four")
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
'''


def profile_for(kills: int) -> Profile:
    """A grid with as many cells as that number of kills is worth."""
    counts = tuple(range(2, 2 + max(6, 3 * kills // 2)))
    return replace(
        SMOKE,
        dtypes=("float32", "float64") if kills > 20 else ("float32",),
        sweep_classes=counts,
        sweep_elements=256,
        families=("offset(offset=100)",),
        family_classes=counts[:8],
        map_offsets=(100.0,),
        map_classes=(2,),
        scan_points=64,
        timing={"latency": Timing((10,), 0, ("one",), warm_up_ns=0, rounds=2)},
    )


@dataclass(frozen=True)
class Outcome:
    """What a loop came to.

    Attributes:
        kills: SIGKILLs sent while the run was unfinished.
        cells: records of the run.
        differences: between it and the undisturbed one; none if all is well.
        left: processes that it left.
        seconds: of the whole loop.
    """

    kills: int
    cells: int
    differences: list[str]
    left: list[int]
    seconds: float


def comparable(found: Run) -> dict[str, Any]:
    """A run without its times: what must be equal however often it was resumed."""
    cells = {}
    for record in found.records:
        figures = {} if record.experiment == "throughput" else record.model_dump()
        figures.pop("elapsed_s", None)
        if record.status == "crashed":  # whose reason is worded alike, but for a race at the pipe
            figures["reason"] = None
        cells[cell_key(record)] = json.dumps(figures, sort_keys=True, default=str)
    info = {k: v for k, v in found.info.model_dump().items() if k not in VARYING}
    return {"info": json.dumps(info, sort_keys=True, default=str), **cells}


def differences(one: Run, other: Run) -> list[str]:
    """What differs between two runs apart from time, a line each."""
    a, b = comparable(one), comparable(other)
    found = [f"{k}: only in one of them" for k in a.keys() ^ b.keys()]
    found += [f"{k}: {a[k]} and {b[k]}" for k in a.keys() & b.keys() if a[k] != b[k]]
    return found + other.problems


def _coordinator(request: Request, report: int) -> None:
    """In the forked child: run, telling the parent of the folder and of the first cell."""
    code = 1
    try:
        run(
            request,
            Progress(
                folder=lambda f: _tell(report, f"folder {f}"),
                started=lambda *_: _tell(report, "started"),
                finished=lambda *_: _tell(report, "unit"),
            ),
        )
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _tell(fd: int, text: str) -> None:
    os.write(fd, text.encode() + b"\n")


class Coordinator:
    """A coordinator in a process of its own, forked from this one."""

    def __init__(self, request: Request) -> None:
        self.read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.read)
            _coordinator(request, write)
        os.close(write)
        self.heard = ""

    def told(self, word: str | None, seconds: float, times: int = 1) -> bool:
        """Wait until it has told `word` so often; False if it ended or time is up before."""
        end = time.monotonic() + seconds
        while word is None or self.heard.count(word) < times:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                return False
            data = os.read(self.read, 4096)
            if not data:
                return False
            self.heard += data.decode()
        return True

    @property
    def folder(self) -> Path | None:
        told = [line for line in self.heard.splitlines() if line.startswith("folder ")]
        return Path(told[0].removeprefix("folder ")) if told else None

    def ended(self) -> int | None:
        """Its exit status (negative for a signal) if it has ended."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if found is None else found.si_status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> int:
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.read)
        return status


def kill_loop(
    kills: int, folder: Path, seed: int = 0, out: TextIO | None = None, scale: int | None = None
) -> Outcome:
    """Run once undisturbed, and once killed `kills` times; what came of it.

    Args:
        scale: size of the grid, by default that for `kills`.
    """
    started = time.monotonic()
    token = f"/kills-{os.getpid()}-{seed}"
    former = os.environ.get(TOKEN_VARIABLE)
    os.environ[TOKEN_VARIABLE] = token
    try:
        request = Request(
            implementations=_implementations(folder),
            profile=profile_for(kills if scale is None else scale),
            results=folder / "whole",
            machine="box",
            command=["kills"],
        )
        first = Coordinator(request)
        first.told(None, 600.0)
        if first.reap() != 0 or first.folder is None:
            raise RuntimeError("the undisturbed run failed; see above")
        whole = read_run(first.folder)
        units = first.heard.count("unit") // (2 * max(1, kills))
        killed, resumed = _killed(
            replace(request, results=folder / "killed"), kills, units, seed, out
        )
        left = _left(token)
        found = differences(whole, read_run(resumed))
        return Outcome(killed, len(whole.records), found, left, time.monotonic() - started)
    finally:
        if former is None:
            del os.environ[TOKEN_VARIABLE]
        else:
            os.environ[TOKEN_VARIABLE] = former


def _implementations(folder: Path) -> list[Implementation]:
    path = folder / "fragile.py"
    path.write_text(FRAGILE, encoding="utf-8")
    return [load("max_shift"), load(path)]


def _killed(
    request: Request, kills: int, units: int, seed: int, out: TextIO | None
) -> tuple[int, Path]:
    """Kill and resume; (kills sent before the run was finished, its folder).

    A fifth of the kills comes at any moment of the start, the others a moment after measuring
    has begun or after one to `units` units, so that the run gets on, however fast the machine.
    """
    rng = random.Random(seed)
    folder: Path | None = None
    sent = 0
    while True:
        if folder is not None and read_run(folder).info.finished is not None:
            break  # it was killed when all was written
        last = sent >= kills
        awaited, times = rng.choice((("started", 1), ("unit", rng.randint(1, max(1, units)))))
        coordinator = Coordinator(request if folder is None else replace(request, resume=folder))
        if last:
            coordinator.told(None, 600.0)
        elif rng.random() < 0.2 and folder is not None:
            time.sleep(rng.uniform(0.0, START_S))
        elif coordinator.told(awaited, 120.0, times):
            time.sleep(rng.expovariate(1.0 / MOMENT_S))
        if not last and coordinator.ended() is None:
            coordinator.kill()
            coordinator.reap()
            sent += 1
        elif last and coordinator.reap() != 0:
            raise RuntimeError(f"the run could not be resumed after {sent} kills; see above")
        elif not last:
            coordinator.reap()
            break  # it was finished before the kill
        folder = folder or coordinator.folder
        if out is not None and (sent % 10 == 0 or last):
            done = len(read_run(folder).records) if folder else 0
            print(f"{sent} kills, {done} cells", file=out, flush=True)
        if last:
            break
    assert folder is not None
    return sent, folder


def _left(token: str) -> list[int]:
    """Processes of the loop that still live, given a moment to end."""
    end = time.monotonic() + 10.0
    while (alive := [p for p in bearers(token) if p != os.getpid()]) and time.monotonic() < end:
        time.sleep(0.1)
    return alive


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        found = kill_loop(kills, Path(folder), seed, sys.stdout)
    print(
        f"{found.kills} kills over one run of {found.cells} cells in {found.seconds:.0f} s; "
        f"{len(found.differences)} differences, {len(found.left)} processes left"
    )
    for line in found.differences[:20]:
        print(f"  {line[:1000]}")
    return 1 if found.differences or found.left or found.kills < kills else 0


if __name__ == "__main__":
    sys.exit(main())
