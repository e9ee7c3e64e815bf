"""The pages: their links lead somewhere, and what they tell to type does what they say."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from harness.cli.app import app

ROOT = Path(__file__).parents[1]


def commands_of(page: Path) -> list[str]:
    """The command lines of a page's code blocks, without what stands behind a ``#``."""
    lines = re.findall(r"^softmax-bench [^\n]*", page.read_text(encoding="utf-8"), re.M)
    return [line.partition("#")[0].strip() for line in lines]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_of_the_pages_is_one(page: Path) -> None:
    """Each is parsed: its options exist and take what is given."""
    group = typer.main.get_command(app)
    for line in commands_of(page):
        name, *arguments = shlex.split(line)[1:]
        assert name in group.commands, line  # type: ignore[attr-defined]
        command = group.commands[name]  # type: ignore[attr-defined]
        try:
            command.make_context(name, arguments)
        except Exception as error:
            pytest.fail(f"{page.name}: {line}: {error}")


def missing_places(page: Path) -> list[str]:
    """The links and paths of a page that lead nowhere.

    A path in backquotes may begin at the root, at ``harness/``, or at a folder that is below it.
    """
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    lost = [link for link in links if not (page.parent / link).exists()]
    files = [f.as_posix() for f in (*ROOT.glob("harness/**/*.*"), *ROOT.glob("tests/**/*.*"))]
    for path in re.findall(r"`(\w[\w/]*/[\w.]+\.(?:py|md|toml|jsonl|html|cuh?))`", text):
        if not (ROOT / path).exists() and not any(f.endswith(f"/{path}") for f in files):
            lost.append(path)
    sources = {f.name: f.read_text(encoding="utf-8") for f in ROOT.glob("tests/**/test_*.py")}
    for file, name in re.findall(r"`(?:[\w/]+/)?(test_\w+\.py)(?:::(\w+))?`", text):
        if f"def {name}" not in sources.get(file, ""):
            lost.append(f"{file}::{name}" if name else file)
    everything = "".join(sources.values())
    alone = re.findall(r"`(test_\w+)`", text)
    return lost + [t for t in alone if f"def {t}(" not in everything and f"{t}.py" not in sources]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md"], ids=lambda p: p.stem)
def test_links_and_paths_of_the_pages_lead_somewhere(page: Path) -> None:
    assert missing_places(page) == []


def test_a_link_or_a_path_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[a](gone.md) [b](page.md#part) [c](https://example.org/x) `harness/gone.py` "
        "`worker/client.py` `client/worker.py` `tests/cli/test_cli.py` `test_gone.py` "
        "`test_cli.py::test_gone` `test_cli.py::test_version` `test_left` `test_version`",
        encoding="utf-8",
    )
    assert missing_places(page) == [
        "gone.md", "harness/gone.py", "client/worker.py", "test_gone.py", "test_cli.py::test_gone",
        "test_left",
    ]  # fmt: skip


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip": ".ci/run, and the environment `suite`",
    "python3 -m venv .venv": ".ci/run",
    ". .venv/bin/activate": "set-up",
    "pip install": "set-up",
    "pytest tests/": "tox",
    "ruff format": "tox -e lint",
    "mypy": "tox -e types",
    "tox": ".ci/run",
    "python -m harness.gpu": "tests/cli/test_gpu.py, as far as that goes without a GPU",
    "dask scheduler": "tests/experiments/test_scheduled.py",
    "DASK_DISTRIBUTED__WORKER": "tests/experiments/test_scheduled.py",
    "softmax-bench run --experiment accuracy,overflow,conformance -i my_softmax.py --scheduler":
        "tests/experiments/test_scheduled.py",
    "softmax-bench run --experiment exhaustive": "tests/experiments/test_exhaustive_records.py",
    "softmax-bench train --resume": "tests/experiments/test_training.py",
    ".venv-ecosystem/": "set-up, and a run of half an hour",
    "git clone": "needs a network",
    'python -c "import numpy, scipy.io': "needs what that would clone",
    "softmax-bench reproduce blanchard --logits": "the same",
}  # fmt: skip
"""Lines that are not typed here, and what does instead."""

SMALLER = {
    "run": "--profile smoke --classes 8 --dtype float32 -i max_shift --no-report",
    "run --logits": "--profile smoke -i max_shift --no-report",
    "run --resume": "--no-report",
    "run --experiment conformance": "--operation logsumexp --dtype float32 -i max_shift",
    "run -i old.py": "--profile smoke --classes 8 --dtype float32 --seconds 0.1 --no-report",
    "claims": "A1",
    "train": "--profile smoke -q collapse -i max_shift --no-report",
    "new": "--folder begun",
    "vectors -o vectors": "--operation logsumexp --dtype float32",
    "vectors -o vectors --operation": "",
    "reproduce blanchard": "--no-report",
    "check my_softmax.py": "--no-timing",
    "check torch_vocab_parallel": "--dtype float32",
    "pytest --softmax-implementation": "-k float32-8_",
    "exhaustive": "--every 5000 --no-report",
    "worst-case": "--evaluations 50 --no-keep --no-report",
}
"""What is added to a command, by its beginning, so that it takes seconds: the longest holds."""

QUICK = ("list", "show", "new", "claims", "compare", "report", "worst-case", "run --resume")
"""What takes about a second; `tox -e slow` types the others, too."""


def _lines() -> list[object]:
    found = [
        (page.stem, line.partition("#")[0].strip())
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    quick = tuple(f"softmax-bench {command}" for command in QUICK)
    return [
        pytest.param(
            line,
            id=f"{page}: {line}",
            marks=() if line.startswith(quick) else pytest.mark.slow,
        )
        for page, line in found
        if line and not line.startswith(tuple(ELSEWHERE))
    ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: files, and runs to show, resume and compare."""
    folder = tmp_path_factory.mktemp("desk")
    code = blocks(ROOT / "README.md", "python")[0]
    for name in ("my_softmax.py", "old.py", "new.py"):
        (folder / name).write_text(code, encoding="utf-8")
    logits = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    np.save(folder / "captured.npy", logits)
    np.savez(folder / "runs.npz", step_100=logits)
    entry = {"dtype": "F32", "shape": logits.shape, "data_offsets": [0, logits.nbytes]}
    header = json.dumps({"layer": entry}).encode()
    content = len(header).to_bytes(8, "little") + header + logits.tobytes()
    (folder / "layers.safetensors").write_bytes(content)
    small = "--profile smoke --classes 8 --dtype float32 --no-report --seconds 0.1 --machine BOX"
    both = "--experiment accuracy,throughput --regime latency -i old.py -i new.py"
    done = typed(f"softmax-bench run {both} {small} --results made", folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "made/BOX").iterdir()
    for copy in ("RUN", "BASE", "NEW", "results/BOX/RUN"):
        shutil.copytree(run, folder / copy)
    interrupted = folder / "results/BOX/RUN/cells.jsonl"
    *kept, _last = interrupted.read_text(encoding="utf-8").splitlines(keepends=True)
    interrupted.write_text("".join(kept), encoding="utf-8")
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    unfinished = json.dumps({**info, "finished": None})
    (interrupted.parent / "run.json").write_text(unfinished, encoding="utf-8")
    return folder


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The line as the shell takes it, in a folder; it has to end with one of our exit codes."""
    words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    module = {"softmax-bench": "harness"}.get(words[0], words[0])
    environment = {**os.environ, **given, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", module, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("line", _lines())
def test_what_a_page_tells_to_type_works(line: str, desk: Path) -> None:
    shutil.rmtree(desk / "vectors", ignore_errors=True)
    command = line.partition("softmax-bench ")[2] or line
    more = max((b for b in SMALLER if command.startswith(b)), key=len, default="")
    done = typed(f"{line} {SMALLER.get(more, '')}", desk)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])


OF_ANOTHER_PLACE = {
    'dist.init_process_group("nccl")': "needs GPUs and torchrun",
    '"index.json"': "tests/experiments/test_vectors_readers.py, beside vectors",
}


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{page.stem}: {code.strip().splitlines()[-1]}")
        for page in PAGES
        for code in blocks(page, "python")
        if not any(part in code for part in OF_ANOTHER_PLACE)
    ],
)
def test_a_snippet_runs_and_gives_the_figures_in_its_comments(code: str) -> None:
    tree = ast.parse(code)
    for statement in tree.body[bool(ast.get_docstring(tree)) :]:
        if isinstance(statement, ast.Expr):
            statement.value = ast.Call(ast.Name("print", ast.Load()), [statement.value], [])
    done = subprocess.run(
        [sys.executable, "-c", ast.unparse(ast.fix_missing_locations(tree))],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = re.findall(r"\d+\.\d{3,}", "".join(re.findall(r"#.*", code)))
    assert [figure for figure in told if figure not in done.stdout] == [], done.stdout
