"""The contract, read from the syntax tree."""

from __future__ import annotations

import os
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest

from harness.registry.contract import ImplementationError, read_metadata
from harness.worker.local import import_module, load

PLAIN = '''"""Max-shift softmax in NumPy."""
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
'''


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_file_needs_nothing_of_ours(tmp_path: Path) -> None:
    meta = read_metadata(written(tmp_path, PLAIN))
    assert meta.name == "mine"
    assert meta.description == "Max-shift softmax in NumPy."
    assert meta.operations == ("softmax",)
    assert meta.operations_with_out == ()
    assert (meta.backend, meta.device, meta.dtypes, meta.bound) == ("numpy", "cpu", None, None)


ACCENTED = '"""Été."""\ndef softmax(x, axis=-1): return x\n'
ENCODED = {
    "a byte order mark": b"\xef\xbb\xbf" + ACCENTED.encode(),
    "latin-1, declared": b"# -*- coding: latin-1 -*-\n" + ACCENTED.encode("latin-1"),
    "gbk, declared in the second line": b"#!python\n# vim: set fileencoding=gbk :\n"
    + ACCENTED.replace("Été", "软").encode("gbk"),
    "a mark and a declaration": b"\xef\xbb\xbf# coding: utf-8\n" + ACCENTED.encode(),
    "carriage returns": ACCENTED.replace("\n", "\r\n").encode(),
    "latin-1, not declared": ACCENTED.encode("latin-1"),
    "a mark that contradicts": b"\xef\xbb\xbf# coding: latin-1\n" + ACCENTED.encode(),
    "an unknown encoding": b"# coding: klingon\n" + ACCENTED.encode(),
    "UTF-16": ACCENTED.encode("utf-16"),
    "a zero byte": ACCENTED.encode() + b"\0",
}


@pytest.mark.parametrize("source", ENCODED.values(), ids=ENCODED)
def test_a_source_is_read_as_python_reads_it(tmp_path: Path, source: bytes) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(source)
    try:
        code = SourceFileLoader("mine", str(path)).get_code("mine")
    except SyntaxError:
        with pytest.raises(ImplementationError, match="cannot be read as a Python module"):
            read_metadata(path)
    else:
        assert code is not None
        assert read_metadata(path).documentation == code.co_consts[0]
        assert load(path).softmax(np.ones(2)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("softmax = functools.partial(f, 1)", ("softmax",)),
        ("softmax: object = jit(f)\nlogsumexp = g", ("softmax", "logsumexp")),
        ("from kernels import softmax, log_softmax", ("softmax", "log_softmax")),
        ("from kernels import fast as softmax", ("softmax",)),
        ("if FAST:\n    softmax = f\nelse:\n    def softmax(x, axis=-1): ...", ("softmax",)),
        ("try:\n    from fast import softmax\nexcept ImportError:\n    softmax = f", ("softmax",)),
        ("from scipy.special import softmax\ndef log_softmax(x, axis=-1): ...", ("log_softmax",)),
    ],
)
def test_operations_are_functions_variables_or_else_imports(
    tmp_path: Path, text: str, operations: tuple[str, ...]
) -> None:
    assert read_metadata(written(tmp_path, text)).operations == operations


def test_a_decorator_may_change_what_its_callers_see(tmp_path: Path) -> None:
    path = tmp_path / "decorated.py"
    path.write_text("@along\ndef softmax(x, options, out): ...", encoding="utf-8")
    found = read_metadata(path)
    assert (found.operations, found.operations_with_out) == (("softmax",), ())


def test_a_wrapped_function_keeps_its_own_signature(tmp_path: Path) -> None:
    text = "def softmax(x, axis=-1, out=None): ...\nsoftmax = jit(softmax)\n"
    assert read_metadata(written(tmp_path, text)).operations_with_out == ("softmax",)


def test_metadata_is_read_without_running_the_module(tmp_path: Path) -> None:
    text = (
        "import no_such_package\nraise SystemExit\n"
        'IMPLEMENTATION = {"dtypes": ("float32",), "bound": "two_pass", "passes": 2,\n'
        '  "deviations": ({"id": "overflow", "reason": "no shift"},)}\n'
        "def softmax(x, axis=-1, out=None): ...\n"
        "def exp(x): ...\n"
    )
    meta = read_metadata(written(tmp_path, text))
    assert meta.dtypes == ("float32",)
    assert meta.bound == "two_pass"
    assert meta.operations_with_out == ("softmax",)
    assert meta.offers_exp
    assert meta.deviations[0].reason == "no shift"
    assert "no_such_package" not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(x): ...", "offers no operation"),
        ("def softmax(): ...", r"expected the signature softmax\(x, axis, out\)"),
        ("def softmax(x): ...", "expected the signature"),
        ("def softmax(x, axis, scale): ...", "expected the signature"),
        ("def softmax(x, axis=-1: ...", "cannot be read as a Python module"),
        ("IMPLEMENTATION = dict(a=1)\ndef softmax(x, axis=-1): ...", "expected a literal dict"),
        ("IMPLEMENTATION = [1]\ndef softmax(x, axis=-1): ...", "expected a dict; got list"),
        ('IMPLEMENTATION = {"dtype": 1}\ndef softmax(x, axis=-1): ...', "unknown entries dtype"),
        (
            'IMPLEMENTATION = {"device": "tpu"}\ndef softmax(x, axis=-1): ...',
            "expected one of cpu, cuda",
        ),
        ('IMPLEMENTATION = {"passes": 0}\ndef softmax(x, axis=-1): ...', "positive integer"),
        ('IMPLEMENTATION = {"by_name": 1}\ndef softmax(x, axis=-1): ...', "True or False"),
        (
            'IMPLEMENTATION = {"dtypes": "float32"}\ndef softmax(x, axis=-1): ...',
            "tuple of strings",
        ),
        (
            'IMPLEMENTATION = {"deviations": ({"id": 1},)}\ndef softmax(x, axis=-1): ...',
            "'id' and 'reason'",
        ),
    ],
)
def test_a_broken_contract_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImplementationError, match=message) as caught:
        read_metadata(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ImplementationError, match="no such file; give the path"):
        load(tmp_path / "absent.py")


def test_a_file_is_imported_by_its_path(tmp_path: Path) -> None:
    module = import_module(read_metadata(written(tmp_path, PLAIN)))
    assert module.softmax.__module__ == "_softmax_bench_mine"


def test_a_failing_import_leaves_no_module_behind(tmp_path: Path) -> None:
    path = written(tmp_path, "raise RuntimeError('no')\ndef softmax(x, axis=-1): ...", "broken.py")
    with pytest.raises(RuntimeError, match="no"):
        import_module(read_metadata(path))
    assert "_softmax_bench_broken" not in sys.modules


def test_digest_changes_with_the_source(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    before = read_metadata(path).sha256()
    path.write_text(PLAIN + "\n", encoding="utf-8")
    assert read_metadata(path).sha256() != before


def test_digest_changes_with_a_private_module_and_with_device_code(tmp_path: Path) -> None:
    (tmp_path / "_shared.py").write_text("A = 1", encoding="utf-8")
    (tmp_path / "code.cu").write_text("x", encoding="utf-8")
    text = (
        'from _shared import A\nIMPLEMENTATION = {"files": ("code.cu",)}\n'
        "def softmax(x, axis=-1): ..."
    )
    path = written(tmp_path, text)
    digests = {read_metadata(path).sha256()}
    for name in ("_shared.py", "code.cu"):
        (tmp_path / name).write_text("A = 2", encoding="utf-8")
        digests.add(read_metadata(path).sha256())
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["../code.cu", "/etc/passwd", "absent.cu"])
def test_files_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    text = f'IMPLEMENTATION = {{"files": ("{name}",)}}\ndef softmax(x, axis=-1): ...'
    with pytest.raises(ImplementationError, match="in the module's folder or below"):
        read_metadata(written(tmp_path, text))


SOFTMAX = "def softmax(x, axis=-1): ...\n"
HOSTILE = {
    "deep arithmetic": ("-" * 200_000 + "1\n", "nested too deeply"),
    "a long chain of attributes": ("a" + ".b" * 100_000 + "\n", "nested too deeply"),
    "deep metadata": (f"IMPLEMENTATION = {'-' * 800}a\n", "expected a literal dict"),
    "a number for deviations": ('IMPLEMENTATION = {"deviations": 3}\n', "a tuple of dicts"),
    "a broken module beside it": ("import _broken\n", "_broken.py: cannot be read"),
    "a format that is none": ('IMPLEMENTATION = {"dtypes": ("f33",)}\n', "is .'f33',.; expected"),
    "an accumulator that is none": ('IMPLEMENTATION = {"accumulator": "x"}\n', "accumulator"),
    "a bound that is none": (
        'IMPLEMENTATION = {"bound": "tight"}\n',
        "is 'tight'; expected one of .*online",
    ),
    "a folder beside it": ('IMPLEMENTATION = {"files": ("/etc/passwd",)}\n', "expected files in"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_source_is_one_clear_error(tmp_path: Path, name: str) -> None:
    text, message = HOSTILE[name]
    written(tmp_path, "def (", "_broken.py")
    with pytest.raises(ImplementationError, match=message):
        read_metadata(written(tmp_path, text + SOFTMAX))


def test_private_modules_may_import_each_other(tmp_path: Path) -> None:
    written(tmp_path, "import _other\n", "_one.py")
    written(tmp_path, "import _one\n", "_other.py")
    meta = read_metadata(written(tmp_path, "from _one import f\n" + SOFTMAX))
    assert {f.name for f in meta.files} == {"_one.py", "_other.py"}


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ImplementationError, match="expected a file of Python source"):
        read_metadata(tmp_path / "pipe.py")


def test_a_giant_source_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "giant.py").open("wb") as file:
        file.truncate(1 << 40)  # a hole; no disk is taken
    with pytest.raises(ImplementationError, match="expected a source of at most 16 MiB"):
        read_metadata(tmp_path / "giant.py")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('"requires": ("..up",)', "package '..up' is not installed"),
        ('"requires": ("",)', "package '' is not installed"),
        ('"requires": ("no_such_package.inside",)', "is not installed"),
        ('"programs": ("  ",)', "program '  ' is not installed"),
        ('"requires": ("json.decoder", "sys")', "None"),
    ],
)
def test_whatever_it_requires_is_there_or_a_reason(tmp_path: Path, entry: str, reason: str) -> None:
    one = load(written(tmp_path, f"IMPLEMENTATION = {{{entry}}}\n{SOFTMAX}"))
    assert reason in str(one.unavailable_reason)


def test_looking_for_what_it_requires_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "runs_when_imported"
    package.mkdir()
    written(package, "raise SystemExit", "__init__.py")
    written(package, "", "inside.py")
    monkeypatch.syspath_prepend(tmp_path)
    text = 'IMPLEMENTATION = {"requires": ("runs_when_imported.inside",)}\n'
    assert load(written(tmp_path, text + SOFTMAX)).available


@pytest.mark.parametrize(
    "helper",
    [
        "def scaled_softmax(x, temperature): ...",
        "def masked_softmax(logits): ...",
        "def merge_logsumexp(pairs): ...",
        "def softcap_softmax(x, c, axis=-1): ...",
    ],
)
def test_a_helper_with_a_name_of_attention_is_no_operation(tmp_path: Path, helper: str) -> None:
    """Files that were good before these operations had names stay good."""
    meta = read_metadata(written(tmp_path, f"{PLAIN}\n\n{helper}\n"))
    assert meta.operations == ("softmax",)


KERNEL = """
IMPLEMENTATION = {"parameters": {"tau": (0, 8), "power": (4.0,)}, "weights": "float8_e5m2"}
def attention_weights(x, axis=-1, *, tau=8, power=4.0): ...
"""


def test_parameters_of_attention_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL)
    meta = read_metadata(path)
    assert meta.operations == ("attention_weights",)
    assert dict(meta.parameters) == {"tau": (0, 8), "power": (4.0,)}
    assert dict(meta.defaults) == {"tau": 8, "power": 4.0}
    assert meta.weights == "float8_e5m2"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("(0, 8)", "()", "a dict of name to a tuple of numbers"),
        ("(0, 8)", "('a', 'b')", "a dict of name to a tuple of numbers"),
        ("(0, 8)", "8", "a dict of name to a tuple of numbers"),
        ("(0, 8)", f"{tuple(range(65))}", "64 combinations at most"),
        ("tau=8,", "", "expected the declared parameters tau with a number as their default"),
        ("tau=8,", "tau=None,", "expected the declared parameters tau"),
        ("tau=8,", "tau=3,", "tau=3"),
        ("float8_e5m2", "float7", "float7"),
    ],
)
def test_parameters_that_are_none_are_refused(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL.replace(right, wrong))
    with pytest.raises(ImplementationError, match=re.escape(said)):
        read_metadata(path)


def test_optional_operations_are_offered_with_their_own_parameters(tmp_path: Path) -> None:
    text = """
def scaled_softmax(x, scale, axis=-1, out=None): ...

def masked_softmax(x, mask, axis=-1): ...

def merge_logsumexp(m1, s1, m2, s2): ...

def ragged_softmax(values, offsets, out=None): ...
"""
    meta = read_metadata(written(tmp_path, PLAIN + text))
    assert meta.operations[:3] == ("softmax", "scaled_softmax", "masked_softmax")
    assert meta.operations[3:] == ("merge_logsumexp", "ragged_softmax")
    assert meta.operations_with_out == ("scaled_softmax", "ragged_softmax")
