"""The pytest plugin from an installed wheel, in somebody else's repository.

``python -I tests/third_party/run.py`` with the Python of an environment that holds the wheel,
pytest, pytest-benchmark and pre-commit, and nothing of this checkout (`tox -e third-party`). It
copies the repository beside this file to a temporary folder, runs pytest, the command line and what
docs/examples/ shows there, and leaves with 1 and the output at the first thing that is not as it
should be.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "docs/examples"
QUICK = "test_case and float32-8_ or test_case and 53_repeatable or test_accuracy and 71"


def check(condition: bool, what: str, output: str = "") -> None:
    """Go on, or leave with what went wrong."""
    if not condition:
        sys.exit(f"{what}\n{output}")
    print(f"ok: {what}")


def ran(*arguments: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a Python module, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def check_examples(folder: Path) -> None:
    """The Action's own steps in a shell, and the hook by pre-commit, on a right softmax and not."""
    action = yaml.safe_load((EXAMPLES / "github-action.yml").read_text(encoding="utf-8"))
    steps = [step for step in action["jobs"]["check"]["steps"] if "run" in step]
    check([s["name"] for s in steps] == ["Install", "Check", "Show the verdict"], "three steps")
    _, verdict, shown = (step["run"] for step in steps)  # the first is pip's
    hook = folder / ".pre-commit-config.yaml"
    shutil.copy(EXAMPLES / "pre-commit-config.yaml", hook)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "PRE_COMMIT_HOME": str(folder / "hooks"),
    }

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", line],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    for source, code in (("mine.py", 0), ("wrong.py", 1)):
        shutil.copy(folder / source, folder / "softmax.py")
        done = shell(verdict)
        check(
            done.returncode == code, f"the Action's check of {source} ends with {code}", done.stdout
        )
        word = "PASS" if code == 0 else "FAIL"
        done = shell(shown)
        summary = (folder / "summary.md").read_text(encoding="utf-8")
        check(done.returncode == 0 and word in summary, f"its summary says {word}", summary)
        done = shell("git init -q . && git add softmax.py && pre-commit run softmax-bench")
        told = "Passed" if code == 0 else "exit code: 1"
        check(done.returncode == code and told in done.stdout, f"the hook: {told}", done.stdout)


def main() -> None:
    found = importlib.util.find_spec("harness")
    origin = Path(str(found.origin)).resolve() if found else Path()
    inside = HERE.parent.parent in origin.parents and ".tox" not in origin.parts
    check(found is not None and not inside, "the harness comes from the wheel", str(origin))
    with tempfile.TemporaryDirectory(prefix="third-party-") as temporary:
        folder = Path(temporary) / "repository"
        shutil.copytree(HERE / "repository", folder)
        judge = ("pytest", "-p", "no:cacheprovider", "-W", "error", "--softmax-implementation")

        status, text = ran(*judge, "mine.py", "-k", f"own or {QUICK}", folder=folder)
        check(status == 0 and "judging mine.py" in text, "a right softmax passes", text)

        status, text = ran(
            *judge, "wrong.py", "-k", "test_accuracy and normal_scale_1-71", folder=folder
        )
        told = "times the bound" in text and "replay:" in text and " passed" not in text
        check(status == 1 and told, "a wrong one fails and says how", text)

        status, text = ran(
            *judge, "mine.py", "-k", "test_throughput and float32", "--benchmark-max-time=0.01",
            "--benchmark-json=timings.json", folder=folder,
        )  # fmt: skip
        timings = folder / "timings.json"
        named = timings.exists() and [
            b["fullname"] for b in json.loads(timings.read_text(encoding="utf-8"))["benchmarks"]
        ]
        check(status == 0 and bool(named), "pytest-benchmark stores its throughput", text)

        status, text = ran("pytest", "-p", "no:cacheprovider", "-W", "error", folder=folder)
        check(status == 0 and "1 passed" in text, "without the option, their own test alone", text)

        status, text = ran("harness", "list", folder=folder)
        check(status == 0 and "max_shift" in text, "softmax-bench list works", text)

        check_examples(folder)


if __name__ == "__main__":
    main()
