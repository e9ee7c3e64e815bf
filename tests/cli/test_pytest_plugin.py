"""The pytest plugin, from a repository of somebody else's: what it adds, says, and costs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from harness.experiments.check import check

pytest_plugins = ["pytester"]

RIGHT = """
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""

Judge = Callable[..., pytest.RunResult]


@pytest.fixture
def judge(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Runs pytest on a file of the given source, in a process of its own."""
    # Or pytest-benchmark takes that process, too, for a worker of these tests, and is disabled.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    installed = [e.name for e in entry_points(group="pytest11")]
    plugin = [] if "softmax_bench" in installed else ["-p", "harness.cli.pytest_plugin"]

    def run(source: str, *options: str) -> pytest.RunResult:
        path = pytester.path / "mine.py"
        path.write_text(source, encoding="utf-8")
        given = ("--softmax-implementation", "mine.py", "-W", "error", "-p", "no:xdist")
        return pytester.runpytest_subprocess(*plugin, *given, *options)

    return run


def test_a_right_softmax_passes_beside_the_repositorys_own_tests(
    pytester: pytest.Pytester, judge: Judge
) -> None:
    pytester.makepyfile(test_own="def test_of_their_own(): pass")
    done = judge(
        RIGHT,
        "-k",
        "own or 53_repeatable or (test_accuracy and 71)",
        "--benchmark-disable",
    )
    done.assert_outcomes(passed=1 + 2 + 2 * 7, deselected=done.parseoutcomes()["deselected"])
    done.stdout.fnmatch_lines(["softmax-bench *: judging mine.py; seed 0; throughput by pytest-*"])


@pytest.mark.parametrize(
    ("fault", "selection", "lines"),
    [
        (
            ("return e", "return (1 + 1e-4) * e"),
            "test_accuracy and float64-wide_range-10",
            ["mine.softmax, float64, wide_range, *times the bound*", "*where: *", "*expected: 0x*",
             "*got: *", "*replay: *harness.load('*mine.py').softmax(x)*",
             "*again: *pytest --softmax-implementation *-k*"],
        ),
        (
            ("return e", "return np.random.default_rng().uniform(0.9, 1.1) * e"),
            "test_case and float64-53_repeatable",
            ["*mine: *53*"],
        ),
        (
            ("x - x.max(axis=axis, keepdims=True)", "x"),
            "test_accuracy and float32-offset",
            ["*offset*times the bound*"],
        ),
        (
            ("e = ", "import os; os.abort(); e = "),
            "test_accuracy and float32-near_ties-2 or test_case and float32-8_",
            ["*crashed: *SIGABRT*"],
        ),
        (
            ("return e / e.sum(axis=axis, keepdims=True)",
             "return np.nan_to_num(e / e.sum(axis=axis, keepdims=True))"),
            "test_case and float32-8_",
            ["*but should be nan*", "*case: *", "*input: *", "*again: *"],
        ),
    ],
    ids=["scale", "random", "overflow", "abort", "swallowed-nan"],
)  # fmt: skip
def test_a_wrong_one_fails_and_says_how(
    judge: Judge, fault: tuple[str, str], selection: str, lines: list[str]
) -> None:
    source = RIGHT.replace(*fault)
    done = judge(source, "-k", selection, "--benchmark-disable")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert "passed" not in done.parseoutcomes()
    done.stdout.fnmatch_lines(lines)
    assert "Traceback" not in done.stdout.str()


def test_the_replay_line_selects_the_test_that_failed(judge: Judge) -> None:
    wrong = RIGHT.replace("return e", "return (1 + 1e-4) * e")
    done = judge(wrong, "-k", "float64-normal_scale_1-2", "--benchmark-disable")
    # One line, which pytest repeats whole in its summary where the variable CI is set.
    (again,) = {line.strip() for line in done.outlines if "again:" in line}
    expression = again.partition("-k '")[2].rstrip("'")
    assert expression == "test_accuracy[mine-float64-normal_scale_1-2]"
    assert judge(wrong, "-k", expression, "--benchmark-disable").parseoutcomes()["failed"] == 1


def test_declared_deviations_are_expected_failures(judge: Judge) -> None:
    reason = "exp(x) overflows"
    declared = (
        'IMPLEMENTATION = {"bound": "naive", "deviations": '
        f'({{"id": "overflow", "reason": "{reason}"}},)}}\n'
    )
    source = declared + RIGHT.replace("x - x.max(axis=axis, keepdims=True)", "x")
    source = source.replace("    e =", "    with np.errstate(all='ignore'):\n        e =")
    done = judge(source, "-k", "test_accuracy and float32-offset", "--benchmark-disable", "-rx")
    assert set(done.parseoutcomes()) == {"xfailed", "deselected"}
    done.stdout.fnmatch_lines([f"*declared deviation 'overflow': {reason}*"])


UNSHIFTED = """
import numpy as np

IMPLEMENTATION = {"dtypes": ("float64",), "bound": "naive", "deviations": (DECLARED)}

def softmax(x, axis=-1):
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    with np.errstate(all="ignore"):
        e = np.exp(rows)
        y = e / e.sum(axis=-1, keepdims=True)
    return np.moveaxis(y, -1, axis)
"""
LOGARITHM = UNSHIFTED.replace('"naive"', '"log_sum_exp_shifted"').replace(
    "        e = np.exp(rows)\n        y = e / e.sum(axis=-1, keepdims=True)\n",
    "        m = rows.max(axis=-1, keepdims=True)\n"
    "        s = np.exp(rows - m).sum(axis=-1, keepdims=True)\n"
    "        y = np.exp(rows - (m + np.log(s)))\n",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "declared", "verdict"),
    [
        (UNSHIFTED, "underflow", "PASS"),
        (UNSHIFTED, "offset", "FAIL"),
        (LOGARITHM, "offset", "PASS"),
    ],
    ids=["underflow", "another", "offset"],
)
def test_a_declared_deviation_is_judged_as_check_judges_it(
    judge: Judge, pytester: pytest.Pytester, source: str, declared: str, verdict: str
) -> None:
    entry = f'{{"id": "{declared}", "reason": "it follows from the formula"}},'
    source = source.replace("DECLARED", entry)
    done = judge(source, "-k", "test_case or test_accuracy", "--benchmark-disable")
    found = check(str(pytester.path / "mine.py"), timing=False)
    assert found.verdict.name == verdict
    assert done.ret == (pytest.ExitCode.OK if verdict == "PASS" else pytest.ExitCode.TESTS_FAILED)
    if verdict == "PASS":
        assert found.expected
        assert done.parseoutcomes()["xfailed"]


def test_findings_are_listed_and_fail_only_when_strict(judge: Judge) -> None:
    selection = ("-k", "test_case and float32-44_", "--benchmark-disable")
    done = judge(RIGHT, *selection)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*softmax-bench findings*", "mine: out*case 44*"])
    assert judge(RIGHT, *selection, "--softmax-strict").ret == pytest.ExitCode.TESTS_FAILED


def test_throughput_is_pytest_benchmarks_own(judge: Judge, pytester: pytest.Pytester) -> None:
    done = judge(
        RIGHT, "-k", "test_throughput and float32", "--benchmark-max-time=0.01",
        "--benchmark-json=out.json",
    )  # fmt: skip
    assert done.ret == pytest.ExitCode.OK
    assert '"fullname": "softmax-bench::test_throughput[mine-float32-64-1000]"' in (
        pytester.path / "out.json"
    ).read_text(encoding="utf-8")


def test_without_pytest_benchmark_there_is_no_throughput_and_it_is_said(judge: Judge) -> None:
    done = judge(RIGHT, "-k", "throughput or test_case and 53_repeatable", "-p", "no:benchmark")
    done.assert_outcomes(passed=2, deselected=done.parseoutcomes()["deselected"])
    done.stdout.fnmatch_lines(["*no throughput tests: pytest-benchmark is not installed*"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("nonesuch", "*no implementation named 'nonesuch'*"), ("gone.py", "*gone.py: no such file*")],
)
def test_what_cannot_be_judged_is_a_usage_error(judge: Judge, name: str, message: str) -> None:
    done = judge(RIGHT, "--softmax-implementation", name)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: --softmax-implementation {message}"])


def test_an_implementation_that_cannot_run_is_a_usage_error(judge: Judge) -> None:
    done = judge('IMPLEMENTATION = {"requires": ("no_such_package",)}\n' + RIGHT)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*cannot run here: package 'no_such_package' is not installed*"])


def test_without_the_option_nothing_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_lean():
            assert "harness.cli.pytest_plugin" in sys.modules
            heavy = {"numpy", "scipy", "numba", "harness.cli.pytest_suite"}
            heavy.add("harness.registry.discovery")
            assert not heavy & set(sys.modules)
        """
    )
    installed = [e.name for e in entry_points(group="pytest11")]
    plugin = [] if "softmax_bench" in installed else ["-p", "harness.cli.pytest_plugin"]
    # Other plugins that happen to be installed may import what they like.
    done = pytester.runpytest_subprocess(*plugin, "-p", "no:hypothesispytest", "-p", "no:benchmark")
    done.assert_outcomes(passed=1)
