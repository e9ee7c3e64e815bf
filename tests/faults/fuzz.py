"""Coverage-guided fuzzing of the readers with atheris, a share of the time for each.

``python tests/faults/fuzz.py 300`` (``tox -e fuzz``). Each reader has a process of its own, since
the fuzzer never returns; a finding is written beside its corpus and printed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one reader in this process, which the fuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["harness"]):
        import readers

    place = folder / "input"
    place.mkdir()
    corpus = folder / "corpus"
    corpus.mkdir()
    for i, example in enumerate(readers.READERS[name].examples):
        (corpus / str(i)).write_bytes(example)

    def once(data: bytes) -> None:
        readers.read(name, data, place)

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096",
         "-timeout=30", f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)],
        once,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    """Every reader in turn; 1 if one had a finding."""
    import readers

    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    share = max(1, seconds // len(readers.READERS))
    found = 0
    for name in readers.READERS:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, str(share), folder],
                capture_output=True,
                text=True,
                errors="replace",
            )
            runs = [w for w in done.stderr.splitlines() if "number_of_executed_units" in w]
            count = runs[-1].split()[-1] if runs else "no"
            verdict = "nothing found" if done.returncode == 0 else "FOUND"
            print(
                f"{name}: {count} inputs in {time.monotonic() - started:.0f} s, {verdict}",
                flush=True,
            )
            if done.returncode != 0:
                found += 1
                print(done.stdout[-2000:], done.stderr[-6000:])
                for path in Path(folder).glob("*-*"):
                    print(f"{path.name}: {path.read_bytes()[:500]!r}")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(main())
